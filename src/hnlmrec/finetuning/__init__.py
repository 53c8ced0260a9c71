"""LoRA fine-tuning of a language model with collaborative signals: triplets, encoder, training, vectors."""

from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CFShape, CollaborativeEncoder
from hnlmrec.finetuning.generate import GenerationConfig, generate_embeddings, generate_hard_negatives
from hnlmrec.finetuning.inputs import (
    EncoderInputs,
    Prompt,
    hard_negative_prompt,
    item_prompt,
    preference_prompt,
    vectors_by_number,
)
from hnlmrec.finetuning.settings import EncoderSettings, EncoderTemplates
from hnlmrec.finetuning.texts import FinetuningTexts, TextsConfig
from hnlmrec.finetuning.trainer import FinetuningResult, finetune
from hnlmrec.finetuning.triplets import STRATEGIES, TripletInputs, Triplets, TripletsConfig, build_triplets

__all__ = [
    "STRATEGIES",
    "CFShape",
    "CollaborativeEncoder",
    "EncoderInputs",
    "EncoderSettings",
    "EncoderTemplates",
    "FinetuningConfig",
    "FinetuningResult",
    "FinetuningTexts",
    "GenerationConfig",
    "Prompt",
    "TextsConfig",
    "TripletInputs",
    "Triplets",
    "TripletsConfig",
    "build_triplets",
    "finetune",
    "generate_embeddings",
    "generate_hard_negatives",
    "hard_negative_prompt",
    "item_prompt",
    "preference_prompt",
    "vectors_by_number",
]
