"""Judges of unobserved pairs: which of the hard negatives are false ones."""

from __future__ import annotations

from hnlmrec.judging.co_interaction import CoInteractionConfig, tune_on_co_interactions
from hnlmrec.judging.evidence import (
    DotEvidence,
    Evidence,
    PopularityEvidence,
    RecommenderEvidence,
    TextEvidence,
    TunedTextEvidence,
    TunedTexts,
)
from hnlmrec.judging.holdout import hold_out_of_train
from hnlmrec.judging.judge import Judge, JudgeConfig, JudgeReport

__all__ = [
    "CoInteractionConfig",
    "DotEvidence",
    "Evidence",
    "Judge",
    "JudgeConfig",
    "JudgeReport",
    "PopularityEvidence",
    "RecommenderEvidence",
    "TextEvidence",
    "TunedTextEvidence",
    "TunedTexts",
    "hold_out_of_train",
    "tune_on_co_interactions",
]
