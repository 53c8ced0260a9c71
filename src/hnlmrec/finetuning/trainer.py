"""The fine-tuning loop, through accelerate: one process or several (`accelerate launch`).

Every update draws its random numbers from the seed and its own number, so that a run that was killed goes on from
its checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.distributed as dist

from hnlmrec.artifacts import write_json
from hnlmrec.checkpoint import CHECKPOINT
from hnlmrec.errors import DataError, TrainingDivergedError
from hnlmrec.finetuning import zero
from hnlmrec.finetuning.checkpoint import read_checkpoint, write_checkpoint
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.evaluation import evaluate_triplets, random_negatives
from hnlmrec.finetuning.inputs import EncoderInputs, hard_negative_prompt, item_prompt, preference_prompt
from hnlmrec.finetuning.objective import uses_anchor
from hnlmrec.finetuning.triplets import Triplets
from hnlmrec.finetuning.updates import Updates
from hnlmrec.rng import RandomStreams

_CALIBRATED = 128  # prompts of each kind that the standardisation is measured on
Progress = Callable[[int, int, float], None]
"""Told (updates done, in all, loss of the last one)."""


@dataclass(frozen=True)
class FinetuningResult:
    """What a run came to.

    Attributes:
        steps: updates.
        before: held-out measures of the untuned encoder; see `evaluate_triplets`. Empty where nothing is held out.
        after: of the tuned one.
    """

    steps: int
    before: Mapping[str, float]
    after: Mapping[str, float]


def finetune(
    encoder: CollaborativeEncoder,
    triplets: Triplets,
    inputs: EncoderInputs,
    config: FinetuningConfig,
    *,
    streams: RandomStreams,
    out: Path,
    progress: Progress | None = None,
) -> FinetuningResult:
    """Fine-tune the encoder in place, and write it with its curves and measures.

    Args:
        encoder: LoRA layers, soft tokens and head are trained.
        triplets: the held-out ones are only measured.
        inputs: texts and CF vectors.
        config: see `FinetuningConfig`.
        streams: "finetuning" seeds the updates, "finetuning_evaluation" draws what is measured.
        out: gets encoder.json and encoder.safetensors, losses.jsonl (a line an update) and metrics.json. A
            checkpoint is there while the run goes on.
        progress: told after each update.

    Raises:
        DataError: nothing to learn from, or the CF vectors have another length.
        TrainingDivergedError: a loss is not finite.
        ConfigError: the folder holds a checkpoint of another run.
    """
    from accelerate import Accelerator  # noqa: PLC0415 - takes seconds
    from accelerate.utils import DistributedDataParallelKwargs  # noqa: PLC0415

    encoder.check(inputs)
    uses_anchor(encoder, config)
    learned = triplets.part(held_out=False)
    if not len(learned):
        raise DataError("all triplets are held out: there is nothing to learn from. Lower held_out_share.")
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a batch may lack one kind of slot
    on_cpu = encoder.device.type == "cpu" and not zero.is_launched()  # accelerate refuses to be told both
    accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[unused])
    out.mkdir(parents=True, exist_ok=True)
    evaluation = _Evaluation(encoder, triplets.part(held_out=True), inputs, config, streams)
    seed = streams.integer("finetuning")
    updates = Updates(encoder, learned, inputs, config, seed=seed, accelerator=accelerator)
    found = read_checkpoint(out, updates.identity, encoder)
    updates.begin(found.optimizer if found else None)
    if not found:
        calibrate(encoder, learned, inputs, config)
    before = found.facts["before"] if found else evaluation()
    _run(updates, found.step if found else 0, before, out, progress)
    after = evaluation()
    updates.save(out)
    if updates.processes.is_main:
        sizes = {"steps": updates.n_steps, "triplets": len(learned), "held_out": evaluation.n}
        write_json(out / "metrics.json", {**sizes, "before": before, "after": after})
        (out / CHECKPOINT).unlink(missing_ok=True)
    if updates.processes.size > 1:
        dist.barrier()  # `Processes.wait` needs gloo, and a caller may have joined them with NCCL alone
    return FinetuningResult(updates.n_steps, before, after)


def calibrate(
    encoder: CollaborativeEncoder, triplets: Triplets, inputs: EncoderInputs, config: FinetuningConfig
) -> None:
    """Measure the standardisation of an encoder that has learned nothing yet, on prompts of these triplets."""
    rows = np.unique(np.linspace(0, len(triplets) - 1, _CALIBRATED).astype(np.int64))
    users, positives = triplets.users[rows], triplets.positives[rows]
    pairs = list(zip(users, positives, strict=True))
    prompts = [hard_negative_prompt(u, i) for u, i in pairs] + [preference_prompt(u, hidden=i) for u, i in pairs]
    items = np.unique(np.concatenate([positives, triplets.hard[rows]]))
    prompts += [item_prompt(item) for item in items[:_CALIBRATED]]
    encoder.calibrate(prompts, inputs, batch_size=config.evaluation_batch_size)


def _run(updates: Updates, done: int, before: Mapping[str, float], out: Path, progress: Progress | None) -> None:
    path = out / "losses.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and done else []
    is_main = updates.processes.is_main
    if is_main:
        path.write_text("".join(lines[:done]), encoding="utf-8")  # what a killed run did after its checkpoint
    every = updates.config.checkpoint_every
    for step in range(done, updates.n_steps):
        losses = updates(step)
        if not math.isfinite(losses["loss"]):
            raise TrainingDivergedError(
                f"the loss of update {step + 1} is {losses['loss']}. Lower learning_rate or head_learning_rate."
            )
        if is_main:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step + 1, **losses}) + "\n")
        if every and (step + 1) % every == 0 and step + 1 < updates.n_steps:
            state = updates.state()
            if is_main:
                write_checkpoint(out, updates.identity, state, step=step + 1, facts={"before": dict(before)})
        if progress is not None:
            progress(step + 1, updates.n_steps, losses["loss"])


class _Evaluation:
    """The same held-out triplets and random items, before and after."""

    def __init__(
        self,
        encoder: CollaborativeEncoder,
        triplets: Triplets,
        inputs: EncoderInputs,
        config: FinetuningConfig,
        streams: RandomStreams,
    ) -> None:
        rng = np.random.default_rng(streams.integer("finetuning_evaluation"))
        rows = np.sort(rng.permutation(len(triplets))[: config.n_evaluated])
        self.n = len(rows)
        self._encoder, self._inputs, self._config = encoder, inputs, config
        self._triplets = triplets.rows(rows)
        self._random = random_negatives(self._triplets, inputs.texts.train, inputs, rng)

    def __call__(self) -> dict[str, float]:
        if not self.n:
            return {}
        size = self._config.evaluation_batch_size
        return evaluate_triplets(self._encoder, self._triplets, self._inputs, self._random, batch_size=size)
