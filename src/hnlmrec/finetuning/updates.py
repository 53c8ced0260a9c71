"""One update of the fine-tuning after another: batches, gradients, step sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from hnlmrec.config import fingerprint_fields
from hnlmrec.data.interactions import Numbers
from hnlmrec.encoders.base import digest
from hnlmrec.finetuning.base_model import seeded
from hnlmrec.finetuning.batches import ContrastiveBatch, contrastive_batch, epoch_batches
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import WEIGHTS_FILE, CollaborativeEncoder
from hnlmrec.finetuning.inputs import EncoderInputs, hard_negative_prompt
from hnlmrec.finetuning.objective import compute_losses
from hnlmrec.finetuning.parallel import Copies
from hnlmrec.finetuning.sharding import Sharded
from hnlmrec.finetuning.sharing import Sharing
from hnlmrec.finetuning.triplets import Triplets
from hnlmrec.finetuning.triplets.base import joined
from hnlmrec.finetuning.zero import Zero
from hnlmrec.processes import current

Booleans = npt.NDArray[np.bool_]
_LORA = "lora_"  # in the names of its parameters
_MAPS = "residual_maps."  # begins theirs


class Updates:
    """Does the n-th update, whatever was done before: its batches and dropout follow from the seed and n.

    `begin` comes first, when the encoder has the values that it starts from.

    Args:
        encoder: is trained in place.
        triplets: to learn from.
        inputs: texts and CF vectors.
        config: see `FinetuningConfig`.
        seed: of the order of triplets, the tasks and the dropout.
        accelerator: of accelerate; with several processes, each reads its share of every batch, and the updates
            are those of one process, but for the dropout.
    """

    def __init__(
        self,
        encoder: CollaborativeEncoder,
        triplets: Triplets,
        inputs: EncoderInputs,
        config: FinetuningConfig,
        *,
        seed: int,
        accelerator: Any,
    ) -> None:
        self.encoder, self.triplets, self.inputs, self.config = encoder, triplets, inputs, config
        self.seed, self.accelerator = seed, accelerator
        self._initial = encoder.fingerprint
        self.processes = current()
        self._sharing = Sharing(self.processes)
        self.batches_per_step = config.gradient_accumulation
        n_batches = max(len(triplets) // config.batch_size, 1)
        self.steps_per_epoch = math.ceil(n_batches / self.batches_per_step)
        n_steps = self.steps_per_epoch * config.epochs
        self.n_steps = n_steps if config.max_steps is None else min(n_steps, config.max_steps)
        pairs = zip(triplets.users, triplets.positives, strict=True)
        self._lengths = encoder.reader.lengths([hard_negative_prompt(u, i) for u, i in pairs], inputs)
        self._observed = joined(inputs.texts.train, triplets.users, triplets.positives)
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)
        if config.gradient_checkpointing:
            _recompute_activations(encoder.language_model)

    def begin(self, optimizer_state: Mapping[str, Tensor] | None = None) -> None:
        """Spread the encoder over the processes, with the optimiser as `state` found it, if that is given.

        Raises:
            ConfigError: the launcher's configuration does not fit the run.
            MissingDependencyError: it asks for DeepSpeed, which is not installed.
        """
        optimizer = torch.optim.AdamW(_groups(self.encoder, self.config), weight_decay=self.config.weight_decay)
        self._parallel = self._kind()(self.encoder, optimizer, self.config, self.accelerator)
        if optimizer_state:
            self._parallel.load_optimizer_state(optimizer_state)

    def _kind(self) -> type[Copies]:
        asked = self.accelerator.distributed_type.value
        if asked == "DEEPSPEED":
            return Zero
        return Sharded if self.processes.size > 1 and (self.config.shard_base or asked == "FSDP") else Copies

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return copies of what a checkpoint holds; all processes have to come here."""
        with self._parallel.whole():
            encoder = {name: value.detach().cpu().clone() for name, value in self.encoder.state().items()}
        return {"encoder": encoder, "optimizer": self._parallel.optimizer_state()}

    def save(self, folder: Path) -> None:
        """Let the main process write the encoder; all have to come here."""
        with self._parallel.whole():
            if self.processes.is_main:
                self.encoder.save(folder)

    def put_back(self, folder: Path) -> None:
        """Give the encoder the weights that `save` wrote, unless they are split over the processes."""
        if type(self._parallel) is Copies:
            tensors = load_file(folder / WEIGHTS_FILE, device=str(self.encoder.device))
            self.encoder.load_state(tensors, str(folder / WEIGHTS_FILE))

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the run, as JSON values."""
        columns = (self.triplets.users, self.triplets.positives, self.triplets.hard)
        return {
            "encoder": self._initial,
            "inputs": self.inputs.digest,
            "triplets": digest(*(column.tolist() for column in columns)),
            "config": fingerprint_fields(self.config),
            "seed": self.seed,
            "processes": self.processes.size,
        }

    def __call__(self, step: int) -> dict[str, float]:
        """Do update `step` (from 0); return the means of the losses over its batches, and the rate's factor."""
        factor = learning_rate_factor(step, self.n_steps, self.config.warmup_share)
        parallel = self._parallel
        parallel.set_rate(factor)
        batches = self._batches(step)
        totals: dict[str, list[float]] = {}
        self.encoder.train()
        with seeded((self.seed + step * 1_000_003 + self.processes.rank) % 2**63):
            for number, batch in enumerate(batches, start=1):
                with parallel.batch(is_last=number == len(batches)):
                    losses = compute_losses(
                        self.encoder, parallel.forward, batch, self.inputs, self.config, sharing=self._sharing
                    )
                    parallel.backward(losses["loss"] / len(batches))
                for name, value in losses.items():
                    totals.setdefault(name, []).append(float(value.detach()))
        parallel.step()
        self.encoder.eval()
        return {**{name: float(np.mean(values)) for name, values in totals.items()}, "rate": factor}

    def _batches(self, step: int) -> list[ContrastiveBatch]:
        epoch, place = divmod(step, self.steps_per_epoch)
        batches, is_preference = self._epoch(epoch)
        here = batches[place * self.batches_per_step : (place + 1) * self.batches_per_step]
        return [self._batch(rows, is_preference[rows], step, place) for place, rows in enumerate(here)]

    def _batch(self, rows: Numbers, is_preference: Booleans, step: int, place: int) -> ContrastiveBatch:
        rng = np.random.default_rng([self.seed, step, 0, place])
        random_items = rng.integers(0, self._observed.n_items, self.config.n_random)
        return contrastive_batch(
            self.triplets.rows(rows),
            is_preference,
            self._observed,
            random_items,
            own_weight=self.config.own_weight,
        )

    def _make_epoch(self, epoch: int) -> tuple[list[Numbers], Booleans]:
        rng = np.random.default_rng([self.seed, epoch])
        batches = epoch_batches(len(self.triplets), self.config.batch_size, self._lengths, rng)
        return batches, rng.random(len(self.triplets)) < self.config.preference_share


def learning_rate_factor(step: int, n_steps: int, warmup_share: float) -> float:
    """Return the factor of the step size at update `step` (from 0): linear warm-up, then a cosine to 0."""
    warmup = round(warmup_share * n_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(n_steps - warmup, 1)))


def _recompute_activations(model: Any) -> None:
    enable = getattr(model, "activation_checkpointing_enable", None)  # its name since transformers 5
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _groups(encoder: CollaborativeEncoder, config: FinetuningConfig) -> list[dict[str, Any]]:
    named = encoder.trainable()
    maps_rate = config.head_learning_rate if config.maps_learning_rate is None else config.maps_learning_rate
    lora = [value for name, value in named.items() if _LORA in name]
    maps = [value for name, value in named.items() if name.startswith(_MAPS)]
    new = [value for name, value in named.items() if _LORA not in name and not name.startswith(_MAPS)]
    rates = ((lora, config.learning_rate), (new, config.head_learning_rate), (maps, maps_rate))
    return [{"params": values, "lr": rate, "base_lr": rate} for values, rate in rates if values]
