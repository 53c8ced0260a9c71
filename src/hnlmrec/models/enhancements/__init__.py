"""LLM-enhanced baselines around any CF model, one file each, and the one table that selects them by name."""

from hnlmrec.models.enhancements.base import Enhancement, EnhancementConfig, EnhancementResources
from hnlmrec.models.enhancements.kar import KAR
from hnlmrec.models.enhancements.llmrec import LLMRec
from hnlmrec.models.enhancements.rlmrec import RLMRecCon, RLMRecGen

ENHANCEMENTS: dict[str, type[Enhancement]] = {
    "rlmrec_con": RLMRecCon,
    "rlmrec_gen": RLMRecGen,
    "kar": KAR,
    "llmrec": LLMRec,
}

__all__ = ["ENHANCEMENTS", "Enhancement", "EnhancementConfig", "EnhancementResources"]
