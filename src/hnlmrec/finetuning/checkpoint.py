"""Checkpoints of the fine-tuning: one safetensors file, replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hnlmrec.errors import ConfigError, CorruptArtifactError
from hnlmrec.finetuning.encoder import CollaborativeEncoder

CHECKPOINT = "checkpoint.safetensors"


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
    tensors = {f"encoder/{name}": value.detach().cpu().contiguous() for name, value in encoder.state().items()}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value).cpu().contiguous()
    state = json.dumps({"identity": identity, "step": step, "facts": facts})
    temporary = folder / f".{CHECKPOINT}.tmp"
    save_file(tensors, temporary, metadata={"state": state})
    temporary.replace(folder / CHECKPOINT)


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
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, {}
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no mapping
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(
            f"the checkpoint {path} cannot be read ({error}). Remove it to start again."
        ) from None
    expected = json.loads(json.dumps(identity))
    changed = sorted(name for name in expected if state["identity"].get(name) != expected[name])
    if changed:
        raise ConfigError(
            f"the checkpoint {path} is of a fine-tuning that differs in: {', '.join(changed)}. Give this one a "
            "folder of its own, or remove the checkpoint to start again."
        )
    encoder.load_state(_group(tensors, "encoder/"), str(path))
    _load_optimizer(optimizer, _group(tensors, "optimizer/"))
    return int(state["step"]), dict(state["facts"])


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
