"""Triplets for the fine-tuning, and the one table that selects a strategy by name."""

from hnlmrec.finetuning.triplets.base import TripletInputs, TripletsConfig
from hnlmrec.finetuning.triplets.build import STRATEGIES, Triplets, build_triplets

__all__ = ["STRATEGIES", "TripletInputs", "Triplets", "TripletsConfig", "build_triplets"]
