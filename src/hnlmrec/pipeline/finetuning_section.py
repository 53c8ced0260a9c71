"""The section [finetuning] of a run's configuration."""

from __future__ import annotations

from pydantic import Field

from hnlmrec.config import Config, runtime
from hnlmrec.finetuning import EncoderSettings, FinetuningConfig, GenerationConfig, TextsConfig, TripletsConfig


class FinetuningSection(Config):
    """Section [finetuning]: the language model that learns collaborative signals."""

    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of train whose pairs become triplets and are kept out of the pre-training of the CF model: a vector
    that was trained on a pair gives the pair away."""
    profiles: bool = False
    """Let the LLM write profiles first, and show them; otherwise the texts of the source and the histories."""
    texts: TextsConfig = TextsConfig()
    triplets: TripletsConfig = TripletsConfig()
    encoder: EncoderSettings = EncoderSettings()
    training: FinetuningConfig = FinetuningConfig()
    vectors: GenerationConfig = GenerationConfig()
    device: str = runtime("auto")
    """`auto` (CUDA where there is one), `cpu`, `cuda`, …"""
    precision: str = "auto"
    """`float32`, `bfloat16`, or `auto`: bfloat16 on a CUDA device that has it."""
