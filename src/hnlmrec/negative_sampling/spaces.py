"""What a search tries of each sampler's settings; its other fields stay as they are.

The ranges hold the values of the papers and the defaults of this package.
"""

from __future__ import annotations

from hnlmrec.search_space import Choice, Space, Span

_CANDIDATES = Choice((2, 4, 8, 16, 32, 64))
_RISK = Choice((0.0, 0.1, 0.25, 0.5, 1.0))
_GENERATED: Space = {
    "alpha": Span(1e-4, 0.5, log=True),
    "schedule": Choice(("constant", "linear", "beta")),
    "n_candidates": Choice((1, 4, 8, 16, 32)),
}

SPACES: dict[str, Space] = {
    "uniform": {},
    "popularity": {"exponent": Span(0.0, 1.0)},
    "dns": {"n_candidates": _CANDIDATES},
    "dns_mn": {"n_candidates": Choice((16, 32, 64, 100)), "n_top": Choice((1, 2, 5, 10))},
    "softmax_v": {"n_negatives": Choice((8, 16, 32, 64)), "rho": Span(0.01, 1.0, log=True)},
    "warp": {"n_candidates": _CANDIDATES, "margin": Choice((0.1, 0.3, 1.0, 3.0))},
    "srns": {
        "memory_size": Choice((10, 20, 40)),
        "n_candidates": Choice((2, 4, 8, 16)),
        "temperature": Span(0.3, 10.0, log=True),
        "weight": Span(0.01, 10.0, log=True),
    },
    "adasir": {
        "memory_size": Choice((10, 20, 40)),
        "temperature": Span(0.1, 5.0, log=True),
        "proposal": Choice(("uniform", "popularity")),
    },
    "mixgcf": {"n_candidates": _CANDIDATES},
    "dens": {
        "n_candidates": Choice((2, 4, 6, 8, 16)),
        "warmup_epochs": Choice((20, 50, 100)),
        "gamma": Span(0.01, 1.0, log=True),
    },
    "ahns": {"n_candidates": _CANDIDATES, "alpha": Span(0.1, 2.0), "beta": Span(0.05, 10.0, log=True)},
    "in_batch": {"n_negatives": Choice((4, 16, 64)), "correction": Choice((True, False))},
    "file": {},
    "llmhni": {"n_candidates": _CANDIDATES, "semantic_weight": Span(0.1, 10.0, log=True)},
    "semantic": {**_GENERATED, "risk_penalty": _RISK},
    "hnlmrec": {**_GENERATED, "risk_penalty": _RISK},
    "noise": _GENERATED,
    "shuffled": _GENERATED,
}
