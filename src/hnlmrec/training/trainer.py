"""The training loop: model, sampler and projector, each by its own loss, in one optimiser."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from hnlmrec.checkpoint import CHECKPOINT, Checkpoint, load_optimizer, optimizer_tensors
from hnlmrec.config import fingerprint_fields
from hnlmrec.data.interactions import InteractionDataset, Split
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError, TrainingDivergedError
from hnlmrec.models.base import Batch, Embeddings, TrainableModel
from hnlmrec.negative_sampling.base import NegativeSampler
from hnlmrec.processes import current
from hnlmrec.rng import RandomStreams
from hnlmrec.training.config import TrainingConfig, resolve_device
from hnlmrec.training.judged_order import JudgedOrder
from hnlmrec.training.loggers import LOGGERS, LoggedRun, RunLogger
from hnlmrec.training.objective import compute_step
from hnlmrec.training.recognised import RecognisedPositives
from hnlmrec.training.result import (
    DrawnNegatives,
    EpochReport,
    History,
    TrainingResult,
    mark_judged_false,
    write_records,
)

Evaluate = Callable[[Embeddings, Split], Mapping[str, float]]
"""Takes embeddings without gradient and a split's name, returns "recall@20" -> value."""

_FREE_TO_CHANGE = ("epochs", "patience")  # a run may be prolonged from its checkpoint


class Trainer:
    """Trains one model with one sampler.

    A run with a folder writes its checkpoint there and goes on from it when it is started again; the numbers are
    then the same as without the interruption.

    Within `hnlmrec.processes.joined()` all processes of a launcher train together, each its rows of every batch.
    The main one measures and writes; the folder must be the same for all.

    Args:
        model: moved to the device of the configuration.
        sampler: likewise.
        config: see `TrainingConfig`; what is `auto` in it becomes a number in `fit`.
        streams: the run's random streams; shuffling and drawing have streams of their own.
        evaluate: measures embeddings on a split.
        judgements: which unobserved pairs are probably positives; needed where `recognised_share`
            or `order_weight` is above 0.
        folder: for metrics.jsonl, checkpoints and the results; None to keep nothing.
        progress: called after each epoch.
        description: settings beside those of the training, for the loggers to show.

    Raises:
        ConfigError: the device is not there, or cannot do mixed precision; there are loggers, and no folder; or
            there are no judgements to learn from.
    """

    def __init__(
        self,
        model: TrainableModel,
        sampler: NegativeSampler,
        config: TrainingConfig,
        streams: RandomStreams,
        *,
        evaluate: Evaluate,
        judgements: JudgementTable | None = None,
        folder: Path | None = None,
        progress: Callable[[EpochReport], None] | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.streams, self.evaluate = config, streams, evaluate
        self.folder, self.progress, self.description = folder, progress, dict(description or {})
        self.processes = current()
        if config.loggers and folder is None:
            raise ConfigError(
                f"training.loggers is {', '.join(config.loggers)}, and there is no folder to keep it in: give one."
            )
        self.device = resolve_device(config.device)
        if config.mixed_precision and self.device.type != "cuda":
            raise ConfigError(
                f"training.mixed_precision needs a CUDA device, and this run is on {self.device.type!r}: "
                "set it to false."
            )
        self.model, self.sampler = model.to(self.device), sampler.to(self.device)
        if (
            model.generator.device != self.device
        ):  # initial values come from the CPU, so they are the same everywhere
            model.generator = self._generator("model")
        self.rng = self._generator("negatives")
        if config.needs_judge and (judgements is None or not len(judgements)):
            name = "recognised_share" if config.recognised_share else "order_weight"
            value = getattr(config, name)
            given = value if value == "auto" else f"{value:g}"
            raise ConfigError(
                f"training.{name} is {given}, and there are no judgements to learn from. "
                "They come from the stage `judge` of `hnlmrec run`; or set it to 0."
            )
        self.judgements = judgements
        self.recognised: RecognisedPositives | None = None  # both are made in fit, from resolved settings
        self.order: JudgedOrder | None = None
        self.judged_false = None if judgements is None else judgements.best(config.recognised_per_user)
        parameters = [p for module in (model, sampler) for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
        self.drawn = DrawnNegatives(config.drawn_per_epoch)
        self.history = History()
        self.best: Embeddings | None = None

    def fit(self, dataset: InteractionDataset) -> TrainingResult:
        """Train until the last epoch, or until validation has not gained for `patience` evaluations.

        Raises:
            ConfigError: the split to select on is empty, `select_by` is not among the metrics, or the folder's
                checkpoint is of another run.
            TrainingDivergedError: a loss or an embedding is no longer finite.
        """
        self.config = config = self.config.resolved(dataset.train)
        if not len(dataset.train) or not len(dataset.split(config.select_on)):
            raise ConfigError(
                f"training needs a train split and a {config.select_on} split that are not empty; this data set "
                f"has {len(dataset.train)} and {len(dataset.split(config.select_on))} pairs."
            )
        self._learn_from_judgements()
        self.drawn.train = dataset.train
        identity = self._identity(dataset)
        self._resume(identity)
        self.processes.wait()  # until all have read the checkpoint
        history = self.history
        pairs = tuple(
            torch.from_numpy(a).to(self.device).long() for a in (dataset.train.users, dataset.train.indices)
        )
        with ExitStack() as stack:
            run = self._logged_run()
            names = config.loggers if self.processes.is_main else ()
            loggers = [stack.enter_context(LOGGERS[name](run)) for name in names]
            while history.epochs < config.epochs and history.without_gain < config.patience:
                losses = self._run_epoch(dataset, pairs)
                if config.checkpoint_every and history.epochs % config.checkpoint_every == 0:
                    self._save_checkpoint(identity)
                self._tell(losses, loggers)
        if self.best is None:  # prolonged from a checkpoint by nothing
            self._evaluate(dataset, {})
        return self._finish(dataset)

    def _learn_from_judgements(self) -> None:
        config, table = self.config, self.judgements
        if table is None:
            return
        if config.recognised_share:
            self.recognised = RecognisedPositives(table, config, self.device)
        if config.order_weight:
            n_users = len(self.model.ego_embeddings().users)
            self.order = JudgedOrder(table, n_users, config.order_per_user, self.device)

    def _run_epoch(self, dataset: InteractionDataset, pairs: tuple[Tensor, ...]) -> dict[str, float]:
        """Train an epoch and evaluate it where it is due; return the mean of each loss."""
        config, history = self.config, self.history
        started = time.perf_counter()
        losses = self._train_epoch(*pairs)
        history.epoch_seconds.append(time.perf_counter() - started)
        if history.epochs % config.evaluate_every == 0 or history.epochs == config.epochs:
            self._evaluate(dataset, losses)
        history.total_seconds += time.perf_counter() - started
        return losses

    def _logged_run(self) -> LoggedRun:
        training = {f"training.{name}": value for name, value in fingerprint_fields(self.config).items()}
        return LoggedRun(
            self.folder or Path(),
            f"{type(self.model).__name__}-{type(self.sampler).__name__}",
            {"seed": self.streams.seed, **self.description, **training},
            self.history.epochs,
        )

    def _tell(self, losses: Mapping[str, float], loggers: Sequence[RunLogger]) -> None:
        """Say to loggers and progress what an epoch came to."""
        history = self.history
        for logger in loggers:
            logger.log(history.epochs, history.figures(losses))
        if self.progress is not None:
            self.progress(
                EpochReport(history.epochs, self.config.epochs, losses, history.best_epoch, history.best_value)
            )

    def _train_epoch(self, users: Tensor, positives: Tensor) -> dict[str, float]:
        """Pass over the train pairs once; return the mean of each loss."""
        epoch = self.history.epochs
        self._start_epoch(epoch)
        order = torch.from_numpy(self.streams.generator("training/shuffle").permutation(len(users)))
        order = order.to(self.device)
        users, positives = users[order], positives[order]
        sums: dict[str, Tensor] = {}
        n_steps = 0
        size = self.config.batch_size
        assert size != "auto"  # resolved
        for batch in map(Batch, torch.split(users, size), torch.split(positives, size)):
            for name, loss in self._train_step(epoch + 1, batch).items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
            n_steps += 1
        self.drawn.end_epoch()
        self.history.epochs += 1
        self.processes.sum_(sums.values())
        losses = {name: float(value) / n_steps for name, value in sums.items()}
        self._check_finite({f"{name} loss": value for name, value in losses.items()})
        return losses

    def _start_epoch(self, epoch: int) -> None:
        self.model.eval()
        with torch.no_grad():
            seen = self.model.propagate(layers=self.sampler.uses_layers) if self.sampler.uses_embeddings else None
            self.sampler.start_epoch(epoch, seen or self.model.ego_embeddings().detach())
        self.model.train()
        self.sampler.train()
        self.model.start_epoch(epoch)
        self.drawn.start_epoch(epoch + 1)

    def _train_step(self, epoch: int, batch: Batch) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        if self.recognised is not None:
            batch = self.recognised.extend(batch, self.rng)
        with self._precision():
            step = compute_step(
                self.model,
                self.sampler,
                self.config,
                batch,
                self.rng,
                order=self.order,
                processes=self.processes,
            )
        torch.autograd.backward(torch.stack(list(step.losses.values())).sum())
        self.processes.sum_gradients([p for group in self.optimizer.param_groups for p in group["params"]])
        self.optimizer.step()
        if self.processes.is_main:
            self.drawn.add(epoch, step.batch, step)
        return step.losses

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if self.config.mixed_precision else nullcontext()

    def _check_finite(self, losses: Mapping[str, float]) -> None:
        bad = {name: value for name, value in losses.items() if not abs(value) < float("inf")}
        if bad:
            raise TrainingDivergedError(
                f"training diverged in epoch {self.history.epochs}: "
                f"{', '.join(f'the {name} is {value}' for name, value in bad.items())}. Try a smaller "
                f"training.learning_rate (now {self.config.learning_rate:g}) or a larger training.regularization "
                f"(now {self.config.regularization:g}); where vectors are given to start from, check their scale."
            )

    @torch.no_grad()
    def _evaluate(self, dataset: InteractionDataset, losses: dict[str, float]) -> None:
        """Measure the model, note it, and keep its embeddings where they are the best so far."""
        config, history = self.config, self.history
        self.model.eval()
        embeddings = self.model.propagate().detach()
        self._check_finite({"norm of the embeddings": float(embeddings.users.norm() + embeddings.items.norm())})
        wanted: tuple[Split, ...] = ("valid",) if config.select_on == "valid" else ("valid", "test")
        metrics: dict[str, dict[str, float]] = {}
        if self.processes.is_main:
            metrics = {
                split: dict(self.evaluate(embeddings, split)) for split in wanted if len(dataset.split(split))
            }
        metrics = self.processes.tell(metrics)
        if config.select_by not in metrics[config.select_on]:
            raise ConfigError(
                f"training.select_by is {config.select_by!r}, which is not measured. "
                f"Choose one of: {', '.join(metrics[config.select_on])}."
            )
        value = metrics[config.select_on][config.select_by]
        history.without_gain += 1
        if value > history.best_value or self.best is None:
            history.best_value, history.best_epoch, history.without_gain = value, history.epochs, 0
            self.best = Embeddings(embeddings.users.cpu().clone(), embeddings.items.cpu().clone())
        history.records.append(
            {
                "epoch": history.epochs,
                "loss": sum(losses.values()),
                "losses": losses,
                **metrics,
                "train_seconds": history.epoch_seconds[-1],
                "sampler": self.sampler.counts(),
            }
        )
        if self.folder is not None and self.processes.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_records(self.folder, history.records)

    def _finish(self, dataset: InteractionDataset) -> TrainingResult:
        assert self.best is not None
        drawn = self.drawn.frame
        if self.judged_false is not None:
            drawn = mark_judged_false(drawn, self.judged_false)
        result = TrainingResult.of(self.best, self.history, self.config.select_on, self.sampler.counts(), drawn)
        if self.folder is not None and self.processes.is_main:
            result.save(self.folder, dataset)
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return result

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.streams.integer(f"training/{name}"))

    def _identity(self, dataset: InteractionDataset) -> dict[str, Any]:
        config = {k: v for k, v in fingerprint_fields(self.config).items() if k not in _FREE_TO_CHANGE}
        return {
            "training configuration": config,
            "seed": self.streams.seed,
            "data set": dataset.counts(),
            "model": type(self.model).__name__,
            "sampler": type(self.sampler).__name__,
            "device": self.device.type,
            "parameters": {name: list(p.shape) for name, p in self.model.named_parameters()},
            "drawn": self.drawn.frame.columns,
        }

    def _save_checkpoint(self, identity: dict[str, Any]) -> None:
        if self.folder is None or not self.processes.is_main:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        best = {} if self.best is None else {"users": self.best.users, "items": self.best.items}
        groups = {
            "model": self.model.state_dict(),
            "sampler": self.sampler.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "generators": {"model": self.model.generator.get_state(), "negatives": self.rng.get_state()},
            "best": best,
            "drawn": {name: self.drawn.frame[name].to_torch() for name in self.drawn.frame.columns},
        }
        facts = {"history": asdict(self.history), "streams": self.streams.state_dict()}
        Checkpoint(identity, facts, groups).save(self.folder)

    def _resume(self, identity: dict[str, Any]) -> None:
        checkpoint = None if self.folder is None else Checkpoint.load(self.folder, identity)
        if checkpoint is None:
            return
        groups = checkpoint.groups
        self.model.load_state_dict(groups["model"])
        self.sampler.load_state_dict(groups.get("sampler", {}))
        load_optimizer(self.optimizer, groups["optimizer"])
        self.model.generator.set_state(groups["generators"]["model"])
        self.rng.set_state(groups["generators"]["negatives"])
        if "best" in groups:
            self.best = Embeddings(groups["best"]["users"], groups["best"]["items"])
        drawn = self.drawn.frame
        self.drawn.frame = pl.DataFrame(
            {name: groups["drawn"][name].numpy() for name in drawn.columns}, drawn.schema
        )
        self.streams.load_state_dict(checkpoint.facts["streams"])
        self.history = History(**checkpoint.facts["history"])
