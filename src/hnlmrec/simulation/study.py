"""The simulation as a study: worlds x models x methods, measured at some epochs, written as tidy tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from hnlmrec.artifacts import storage_errors, write_json
from hnlmrec.config import Config
from hnlmrec.console import ProgressReporter, SilentProgress
from hnlmrec.rng import RandomStreams
from hnlmrec.simulation.methods import MethodBuilder, MethodsConfig, choose_methods
from hnlmrec.simulation.plots import draw_pictures
from hnlmrec.simulation.trajectory import Row, Trajectory
from hnlmrec.simulation.world import WorldConfig, plant_world
from hnlmrec.training import TrainingConfig

MEASURES, OUTCOMES, RESULT = "measures.parquet", "outcomes.parquet", "result.json"


class SimulationConfig(Config):
    """What `hnlmrec simulate` runs."""

    seeds: tuple[int, ...] = Field((0, 1), min_length=1)
    """Worlds: each seed plants preferences, draws exposure and views, and trains anew."""
    models: tuple[Literal["mf", "lightgcn"], ...] = Field(("mf", "lightgcn"), min_length=1)
    """Backbones."""
    methods: tuple[str, ...] = ()
    """What is measured, by the names of the table METHODS; () for all."""
    epochs: tuple[int, ...] = Field((3, 10, 30), min_length=1)
    """Epochs of the BPR training after which is measured, ascending; the last is where it ends."""
    embedding_size: int = Field(16, ge=1)
    """Length d of a user's or an item's vector."""
    n_draws: int = Field(16, ge=4, multiple_of=2)
    """Passes over the positives by which an expectation is estimated."""
    outcomes: bool = False
    """Train a model on each method as well, and measure how it finds the liked pairs that were not observed."""
    world: WorldConfig = WorldConfig()
    """The planted preferences."""
    samplers: MethodsConfig = MethodsConfig()
    """What the methods share."""
    training: TrainingConfig = TrainingConfig(
        learning_rate=0.01,
        batch_size=256,
        epochs=60,
        patience=4,
        evaluate_every=5,
        drawn_per_epoch=0,
        device="cpu",
    )
    """Options of the trainer; `epochs` is that of the outcomes."""

    @model_validator(mode="after")
    def _epochs_ascend(self) -> SimulationConfig:
        if list(self.epochs) != sorted(set(self.epochs)) or self.epochs[0] < 1:
            raise ValueError(f"epochs must ascend from at least 1, not {list(self.epochs)}")
        if self.embedding_size > self.world.text_size:
            raise ValueError(
                f"embedding_size is {self.embedding_size}, more than world.text_size {self.world.text_size}: "
                "texts cannot be projected into such a space"
            )
        return self


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a simulation came to.

    Attributes:
        measures: a row for each (seed, model, epoch, method), with the measures of `measures.describe`.
        outcomes: a row for each (seed, model, method): best_epoch, recall@20, ndcg@20; empty without outcomes.
        worlds: a row for each seed: sizes, share of false negatives among the pairs outside of train.
        seconds: {"total": wall time, "cpu": of this process, "cpu_outcomes": of these, what the outcomes took}.
    """

    measures: pl.DataFrame
    outcomes: pl.DataFrame
    worlds: pl.DataFrame
    seconds: dict[str, float]

    def summary(self, *, model: str, epoch: int) -> pl.DataFrame:
        """Return the means over the seeds at one epoch, a row a method, in the order of the methods."""
        here = self.measures.filter((pl.col("model") == model) & (pl.col("epoch") == epoch))
        return here.group_by("method", maintain_order=True).agg(pl.exclude("seed", "model", "epoch").mean())


def simulate(config: SimulationConfig, out: Path, progress: ProgressReporter | None = None) -> SimulationResult:
    """Run the simulation and write it: measures.parquet, outcomes.parquet, result.json and two pictures.

    Args:
        config: see `SimulationConfig`.
        out: folder; files of an earlier simulation are replaced.
        progress: shows how far it has come.

    Raises:
        UnknownChoiceError: there is no method of a given name.
        DataError: the settings leave no world.
    """
    methods, started, cpu_started = choose_methods(config.methods), time.perf_counter(), time.process_time()
    cpu_outcomes = 0.0
    measures: list[Row] = []
    outcomes: list[Row] = []
    worlds: list[Row] = []
    reporter = progress or SilentProgress()
    total = len(config.seeds) * len(config.models)
    with reporter.task("simulate") as advance:
        for number, seed in enumerate(config.seeds):
            streams = RandomStreams(seed)
            world = plant_world(config.world, streams)
            unobserved = ~world.train
            false_share = float(world.false_negatives[unobserved].mean())
            worlds.append({"seed": seed, **world.dataset.counts(), "false_share": false_share})
            builder = MethodBuilder(
                world, config.samplers, streams, config.embedding_size, out / "negatives" / str(seed)
            )
            for done, model in enumerate(config.models, number * len(config.models) + 1):
                trajectory = Trajectory(world, model, builder, methods, streams)
                key = {"seed": seed, "model": model}
                rows = trajectory.measure(config.training, config.epochs, config.n_draws)
                measures += [key | row for row in rows]
                before = time.process_time()
                trained = methods if config.outcomes else ()
                outcomes += [key | trajectory.outcome(name, config.training) for name in trained]
                cpu_outcomes += time.process_time() - before
                advance(done, total)
    seconds = {
        "total": time.perf_counter() - started,
        "cpu": time.process_time() - cpu_started,
        "cpu_outcomes": cpu_outcomes,
    }
    result = SimulationResult(pl.DataFrame(measures), pl.DataFrame(outcomes), pl.DataFrame(worlds), seconds)
    _write(result, config, out)
    return result


def _write(result: SimulationResult, config: SimulationConfig, out: Path) -> None:
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        result.measures.write_parquet(out / MEASURES)
        (out / OUTCOMES).unlink(missing_ok=True)
        if len(result.outcomes):
            result.outcomes.write_parquet(out / OUTCOMES)
        write_json(out / RESULT, simulation_json(result, config))
        draw_pictures(result.measures, out)


def simulation_json(result: SimulationResult, config: SimulationConfig) -> dict[str, Any]:
    """Return configuration, worlds and means over the seeds, as values that JSON can hold."""
    means = result.measures.group_by("model", "epoch", "method", maintain_order=True).agg(
        pl.exclude("seed").mean()
    )
    described: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "seconds": {name: round(value, 1) for name, value in result.seconds.items()},
        "worlds": result.worlds.to_dicts(),
        "means": [_finite(row) for row in means.to_dicts()],
    }
    if len(result.outcomes):
        found = result.outcomes.group_by("model", "method", maintain_order=True).agg(pl.exclude("seed").mean())
        described["outcomes"] = [_finite(row) for row in found.to_dicts()]
    return described


def _finite(row: Row) -> Row:
    """Return the row rounded, with None for what is not a number (JSON has no NaN)."""
    return {
        name: (round(value, 5) if np.isfinite(value) else None) if isinstance(value, float) else value
        for name, value in row.items()
    }


def simulation_text(result: SimulationResult, config: SimulationConfig) -> str:
    """Return the lines that a person sees at the end: the last epoch, a table a model."""
    columns = ("false_share", "hardness", "bias", "cosine", "noise", "cosine_ideal", "cosine_ideal_hard")
    epoch, lines = config.epochs[-1], []
    for model in config.models:
        rows = result.summary(model=model, epoch=epoch)
        width = max(len(name) for name in rows["method"])
        lines += [f"{model}, epoch {epoch}; worlds: {len(config.seeds)}"]
        lines += [f"{'':<{width}}  " + "  ".join(f"{name:>{max(len(name), 6)}}" for name in columns)]
        for row in rows.iter_rows(named=True):
            cells = "  ".join(f"{row[name]:>{max(len(name), 6)}.3f}" for name in columns)
            lines.append(f"{row['method']:<{width}}  {cells}")
        lines.append("")
    return "\n".join([*lines, f"{result.seconds['total']:.0f} s"])
