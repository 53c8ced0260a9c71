"""Judges of unobserved pairs: which of the hard negatives are false ones."""

from __future__ import annotations

from hnlmrec.judging.evidence import DotEvidence, EASEEvidence, Evidence, TextEvidence
from hnlmrec.judging.holdout import hold_out_of_train
from hnlmrec.judging.judge import Judge, JudgeConfig, JudgeReport

__all__ = [
    "DotEvidence",
    "EASEEvidence",
    "Evidence",
    "Judge",
    "JudgeConfig",
    "JudgeReport",
    "TextEvidence",
    "hold_out_of_train",
]
