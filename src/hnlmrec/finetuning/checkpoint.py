"""Checkpoints of the fine-tuning: the encoder's trained weights, and how far the updates have come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from hnlmrec.checkpoint import CHECKPOINT, Checkpoint
from hnlmrec.finetuning.encoder import CollaborativeEncoder


def write_checkpoint(
    folder: Path,
    identity: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Tensor]],
    *,
    step: int,
    facts: Mapping[str, Any],
) -> None:
    """Write the trained weights and the optimiser's moments; a kill in the middle leaves the file before.

    Args:
        folder: where.
        identity: what must be the same for a run to go on from it, as JSON values.
        groups: "encoder" (`CollaborativeEncoder.state`) and "optimizer", tensors by name.
        step: updates done.
        facts: JSON values to be handed back.
    """
    Checkpoint(identity, {"step": step, "facts": facts}, groups).save(folder)


class Found(NamedTuple):
    """What a checkpoint tells: updates done, its facts, the optimiser's moments by name."""

    step: int
    facts: dict[str, Any]
    optimizer: Mapping[str, Tensor]


def read_checkpoint(folder: Path, identity: Mapping[str, Any], encoder: CollaborativeEncoder) -> Found | None:
    """Put the encoder to where the checkpoint found it; None where there is no checkpoint.

    Raises:
        ConfigError: it is of another run.
        CorruptArtifactError: it cannot be read.
    """
    found = Checkpoint.load(folder, identity)
    if found is None:
        return None
    encoder.load_state(dict(found.groups.get("encoder", {})), str(folder / CHECKPOINT))
    return Found(int(found.facts["step"]), dict(found.facts["facts"]), found.groups.get("optimizer", {}))
