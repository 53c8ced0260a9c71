"""The section [finetuning] of a run's configuration."""

from __future__ import annotations

from pydantic import Field, model_validator

from hnlmrec.config import Config, added, runtime
from hnlmrec.data.preparation import PreparationConfig
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
    adapter: str = added("")
    """Folder of an encoder that was fine-tuned elsewhere (artifacts/finetune/KEY): it writes the vectors, and
    nothing is fine-tuned here. Its own settings hold, not those of `encoder`; it must read CF vectors of the
    length of this run's."""
    transfer_from: PreparationConfig | None = added(None)
    """Another data set, by the fields of the section [data]: the encoder is fine-tuned on that one, with the
    settings of this run, and writes the vectors of this one without tuning."""

    @model_validator(mode="after")
    def _one_origin(self) -> FinetuningSection:
        if self.adapter and self.transfer_from is not None:
            raise ValueError("give either adapter (a folder) or transfer_from (a data set), and not both")
        return self
