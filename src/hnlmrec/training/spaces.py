"""What a search tries of the training's settings, whatever the model and the sampler."""

from __future__ import annotations

from hnlmrec.search_space import Choice, Space, Span

TRAINING_SPACE: Space = {
    "learning_rate": Span(2e-4, 2e-2, log=True),
    "regularization": Span(1e-6, 1e-2, log=True),
    "loss": Choice(("bpr", "hinge", "softmax")),
}

RECOGNISED_SPACE: Space = {
    "recognised_share": Choice(("auto", 0.1, 0.25, 0.5, 0.75)),
    "recognised_per_user": Choice((3, 5, 10, 20)),
    "recognised_evenness": Choice((0.0, 0.25, 0.5)),
    "order_weight": Choice((0.0, 0.3, 1.0, 3.0)),
}
"""For those that learn a judge's false negatives as positives: HNLMRec, and classic samplers beside it."""
