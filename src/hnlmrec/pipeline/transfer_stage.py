"""The stage that takes over an encoder which was fine-tuned elsewhere, in place of fine-tuning one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hnlmrec.config import Config, runtime
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.finetuning.transfer import adopt_encoder, check_encoder, encoder_digests
from hnlmrec.pipeline.graph import Stage, StageSummary


class AdoptStageConfig(Config):
    """What decides an encoder that is taken over."""

    size: int
    """Length of this run's CF vectors."""
    precision: str
    folder: str = runtime("")
    """Folder of an encoder from outside; what it holds is part of the key, not where it lies. Empty: the input
    `encoder`."""
    device: str = runtime("auto")


class AdoptStage(Stage[AdoptStageConfig]):
    """Makes an encoder ready for this run's CF vectors; inputs pretrain and, of another data set, encoder."""

    name = "adopt"

    def __init__(self, config: AdoptStageConfig) -> None:
        self.config = config

    def external_inputs(self) -> dict[str, str]:
        """Return the digests of an encoder from outside; that it fits is checked before anything is made."""
        if not self.config.folder:
            return {}
        folder = Path(self.config.folder)
        check_encoder(folder, self.config.size)
        return encoder_digests(folder)

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the encoder."""
        config = self.config
        users, items = (
            np.asarray(EmbeddingTable.load(inputs["pretrain"], name).vectors, dtype=np.float32)
            for name in ("users", "items")
        )
        folder = inputs.get("encoder", Path(config.folder))
        adopt_encoder(folder, users, items, out, device=config.device, precision=config.precision)
        return StageSummary()
