"""Checkpoints of the fine-tuning: the encoder's trained weights, and how far the updates have come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hnlmrec.checkpoint import CHECKPOINT, Checkpoint, load_optimizer, optimizer_tensors
from hnlmrec.finetuning.encoder import CollaborativeEncoder


def write_checkpoint(
    folder: Path,
    identity: Mapping[str, Any],
    encoder: CollaborativeEncoder,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    facts: Mapping[str, Any],
) -> None:
    """Write the trained weights and the optimiser's moments; a kill in the middle leaves the file before.

    Args:
        folder: where.
        identity: what must be the same for a run to go on from it, as JSON values.
        encoder: its state is written.
        optimizer: of these parameters.
        step: updates done.
        facts: JSON values to be handed back.
    """
    groups = {"encoder": encoder.state(), "optimizer": optimizer_tensors(optimizer)}
    Checkpoint(identity, {"step": step, "facts": facts}, groups).save(folder)


def read_checkpoint(
    folder: Path,
    identity: Mapping[str, Any],
    encoder: CollaborativeEncoder,
    optimizer: torch.optim.Optimizer,
) -> tuple[int, dict[str, Any]]:
    """Put encoder and optimiser to where the checkpoint found them.

    Returns:
        (updates done, facts); (0, {}) where there is no checkpoint.

    Raises:
        ConfigError: it is of another run.
        CorruptArtifactError: it cannot be read.
    """
    found = Checkpoint.load(folder, identity)
    if found is None:
        return 0, {}
    encoder.load_state(dict(found.groups.get("encoder", {})), str(folder / CHECKPOINT))
    load_optimizer(optimizer, found.groups.get("optimizer", {}))
    return int(found.facts["step"]), dict(found.facts["facts"])
