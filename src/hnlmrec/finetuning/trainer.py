"""The fine-tuning loop, through accelerate: one process or several (`accelerate launch`).

Every update draws its random numbers from the seed and its own number, so that a run that was killed goes on from
its checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from hnlmrec.artifacts import write_json
from hnlmrec.checkpoint import CHECKPOINT
from hnlmrec.errors import DataError, TrainingDivergedError
from hnlmrec.finetuning import zero
from hnlmrec.finetuning.checkpoint import Found, read_checkpoint, write_checkpoint
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.evaluation import evaluate_triplets, quality, random_negatives
from hnlmrec.finetuning.inputs import EncoderInputs, hard_negative_prompt, item_prompt, preference_prompt
from hnlmrec.finetuning.objective import uses_anchor
from hnlmrec.finetuning.triplets import Triplets
from hnlmrec.finetuning.updates import Updates
from hnlmrec.rng import RandomStreams

log = logging.getLogger(__name__)
_CALIBRATED = 128  # prompts of each kind that the standardisation is measured on
Progress = Callable[[int, int, float], None]
"""Told (updates done, in all, loss of the last one)."""


@dataclass(frozen=True)
class FinetuningResult:
    """What a run came to.

    Attributes:
        steps: updates.
        before: held-out measures of the untuned encoder; see `evaluate_triplets`. Empty where nothing is held out.
        after: of the one that is kept.
        kept: updates that the kept one has had.
    """

    steps: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    kept: int


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

    With `evaluate_every` what is written is the best encoder on the held-out triplets, and the given one is put
    back to it, but where its weights are split over several processes.

    Args:
        encoder: LoRA layers, soft tokens and head are trained.
        triplets: the held-out ones are only measured.
        inputs: texts and CF vectors.
        config: see `FinetuningConfig`.
        streams: "finetuning" seeds the updates, "finetuning_evaluation" draws what is measured.
        out: gets encoder.json and encoder.safetensors, losses.jsonl (a line an update), metrics.json and, with
            `evaluate_every`, evaluations.jsonl. A checkpoint is there while the run goes on.
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
    best = _Best(updates, evaluation, out, found)
    _run(updates, found.step if found else 0, best, out, progress)
    best.end()
    if updates.processes.is_main:
        sizes = {"steps": updates.n_steps, "kept": best.step, "triplets": len(learned), "held_out": evaluation.n}
        write_json(out / "metrics.json", {**sizes, "before": best.before, "after": best.measures})
        (out / CHECKPOINT).unlink(missing_ok=True)
    if updates.processes.size > 1:
        dist.barrier()  # `Processes.wait` needs gloo, and a caller may have joined them with NCCL alone
    if config.evaluate_every:
        updates.put_back(out)
    return FinetuningResult(updates.n_steps, best.before, best.measures, best.step)


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


def _run(updates: Updates, done: int, best: _Best, out: Path, progress: Progress | None) -> None:
    path = out / "losses.jsonl"
    is_main = updates.processes.is_main
    if is_main:
        _cut(path, done)
    every = updates.config.checkpoint_every
    for step in range(done, updates.n_steps):
        losses = updates(step)
        if not math.isfinite(losses["loss"]):
            raise TrainingDivergedError(
                f"the loss of update {step + 1} is {losses['loss']}. Lower learning_rate or head_learning_rate."
            )
        if is_main:
            _add_line(path, {"step": step + 1, **losses})
        best.look(step + 1)
        if every and (step + 1) % every == 0 and step + 1 < updates.n_steps:
            state = updates.state()
            if is_main:
                write_checkpoint(out, updates.identity, state, step=step + 1, facts=best.facts())
        if progress is not None:
            progress(step + 1, updates.n_steps, losses["loss"])


def _cut(path: Path, done: int) -> None:
    """Keep the lines up to update `done`: what a killed run did after its checkpoint is done again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() and done else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= done]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _add_line(path: Path, values: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


class _Best:
    """Keeps the encoder that did best on the held-out triplets; without `evaluate_every`, the last.

    Attributes:
        before: measures of the encoder before the first update.
        step: updates that the best one so far has had.
        measures: its measures.
    """

    def __init__(self, updates: Updates, evaluation: _Evaluation, out: Path, found: Found | None) -> None:
        self._updates, self._evaluation, self._out = updates, evaluation, out
        self._every = updates.config.evaluate_every if evaluation.n else 0
        self._path = out / "evaluations.jsonl"
        self.before: dict[str, float]
        self.measures: dict[str, float]
        if found:
            self.before, self.step = found.facts["before"], found.facts.get("step", 0)
            self.measures = found.facts.get("measures", self.before)
        else:
            self.before, self.step = evaluation(), 0
            self.measures = self.before
        if self._every:
            if updates.processes.is_main:
                _cut(self._path, found.step if found else 0)
            if not found:
                self._note(0, self.before)
                updates.save(out)

    def look(self, step: int) -> None:
        """Measure, where it is time, and write the encoder if it is the best so far."""
        if not self._every or (step % self._every and step < self._updates.n_steps):
            return
        measures = self._evaluation()
        self._note(step, measures)
        share = self._updates.config.preference_share
        if quality(measures, share) > quality(self.measures, share):
            self.step, self.measures = step, measures
            self._updates.save(self._out)

    def end(self) -> None:
        """Write the last encoder, where none is chosen."""
        if not self._every:
            self.step, self.measures = self._updates.n_steps, self._evaluation()
            self._updates.save(self._out)
        elif self._updates.n_steps and not self.step:
            log.warning(
                "none of %d updates did better on the held-out triplets than none at all (%s): the encoder as it "
                "was is kept. More updates, or smaller steps (learning_rate, head_learning_rate), may.",
                self._updates.n_steps,
                ", ".join(f"{name} {value:.3f}" for name, value in self.before.items()),
            )

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold."""
        return {"before": self.before, "step": self.step, "measures": self.measures}

    def _note(self, step: int, measures: Mapping[str, float]) -> None:
        if self._updates.processes.is_main:
            _add_line(self._path, {"step": step, **measures})


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
