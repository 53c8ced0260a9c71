"""What a search tries of the settings of models and recommenders; the embedding size is the study's own."""

from __future__ import annotations

from hnlmrec.search_space import Choice, Space, Span

_LAYERS: Space = {"n_layers": Choice((1, 2, 3))}

MODEL_SPACES: dict[str, Space] = {
    "mf": {},
    "lightgcn": _LAYERS,
    "ngcf": {**_LAYERS, "dropout": Span(0.0, 0.5)},
    "sgl": {**_LAYERS, "edge_drop": Span(0.05, 0.5), "ssl_weight": Span(0.005, 1.0, log=True)},
    "simgcl": {**_LAYERS, "noise": Span(0.01, 0.5, log=True), "ssl_weight": Span(0.01, 2.0, log=True)},
    "xsimgcl": {**_LAYERS, "noise": Span(0.01, 0.5, log=True), "ssl_weight": Span(0.01, 2.0, log=True)},
}

_EASE: Space = {"regularization": Span(10.0, 5000.0, log=True)}

RECOMMENDER_SPACES: dict[str, Space] = {
    "popularity": {},
    "item_knn": {"n_neighbours": Choice((10, 20, 50, 100, 200)), "shrinkage": Span(0.0, 100.0)},
    "ease": _EASE,
    "ease_text": {**_EASE, "text_weight": Span(0.002, 0.2, log=True), "text_power": Choice((1.0, 2.0, 3.0, 5.0))},
}
