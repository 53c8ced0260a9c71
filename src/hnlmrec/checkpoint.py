"""Checkpoints: one safetensors file, replaced as a whole, from which a run goes on as if never stopped.

Tensors (parameters, buffers, the optimiser's moments, states of random generators) are the file's content; the
rest is JSON in its metadata. The training of a recommender and the fine-tuning of a language model both write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hnlmrec.errors import ConfigError, CorruptArtifactError

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A run's state.

    Attributes:
        identity: what must be the same for the run to go on (configuration, seed, data sizes, classes).
        facts: JSON values.
        groups: tensors by group and name.
    """

    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]

    def save(self, folder: Path) -> None:
        """Write the checkpoint; a kill in the middle leaves the one before."""
        tensors = {
            f"{group}/{name}": tensor.detach().contiguous()
            for group, members in self.groups.items()
            for name, tensor in members.items()
        }
        text = json.dumps({"identity": self.identity, "facts": self.facts})
        temporary = folder / f".{CHECKPOINT}.tmp"
        save_file(tensors, temporary, metadata={"state": text})
        temporary.replace(folder / CHECKPOINT)

    @classmethod
    def load(cls, folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
        """Read the folder's checkpoint; None where there is none.

        Raises:
            ConfigError: it is of another run.
            CorruptArtifactError: the file cannot be read.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return None
        groups: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                for key in file.keys():  # noqa: SIM118 - the file is no mapping
                    group, _, name = key.partition("/")
                    groups.setdefault(group, {})[name] = file.get_tensor(key)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"the checkpoint {path} cannot be read ({error}). Remove it to train from the start."
            ) from None
        expected = json.loads(json.dumps(identity))
        changed = sorted(name for name in expected if state["identity"].get(name) != expected[name])
        if changed:
            raise ConfigError(
                f"the checkpoint {path} is of a run that differs in: {', '.join(changed)}. Give the run a "
                "folder of its own, or remove the checkpoint to train from the start."
            )
        return cls(state["identity"], state["facts"], groups)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors."""
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}/{name}": value for number, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
