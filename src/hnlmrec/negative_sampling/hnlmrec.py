"""HNLMRec: vectors of the tuned LLM mixed into hard items, with a guard against false negatives.

"HNLMRec" (arXiv 2504.04726), with what was measured to be better than its random item.
"""

from __future__ import annotations

from hnlmrec.negative_sampling.candidates import NCandidates
from hnlmrec.negative_sampling.semantic import SemanticConfig, SemanticSampler


class HNLMRecConfig(SemanticConfig):
    """As `semantic`, with a hard item in place of a random one."""

    n_candidates: NCandidates = 16
    """Number of uniform candidates of which e_j is the one that the model scores highest; `auto` as for DNS."""


class HNLMRecSampler(SemanticSampler):
    """e~ = alpha e_hard + (1 - alpha) e_j, e_hard from the tuned LLM, j the hardest candidate less its risk.

    Departs from the paper: there j is random (set n_candidates=1 and risk_penalty=0 for its form), and nothing
    guards against false negatives. The samplers `noise` and `shuffled`, with the same options, are its ablations.
    """

    Config = HNLMRecConfig
