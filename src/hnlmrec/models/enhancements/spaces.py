"""What a search tries of each enhancement's settings; whether the LLM writes profiles is left to the study."""

from __future__ import annotations

from hnlmrec.search_space import Choice, Space, Span

ENHANCEMENT_SPACES: dict[str, Space] = {
    "rlmrec_con": {"weight": Span(1e-3, 1.0, log=True), "temperature": Span(0.05, 1.0, log=True)},
    "rlmrec_gen": {
        "weight": Span(1e-3, 1.0, log=True),
        "temperature": Span(0.05, 1.0, log=True),
        "mask_ratio": Span(0.05, 0.5),
    },
    "kar": {"n_shared": Choice((1, 2, 4)), "n_dedicated": Choice((1, 2, 4)), "expert_size": Choice((16, 32, 64))},
    "llmrec": {"share": Span(0.005, 0.5, log=True), "pruned": Span(0.0, 0.9)},
}
