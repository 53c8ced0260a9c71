"""Runs a configuration: the graph, the run's folder, and the JSON that the command line prints."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import torch

from hnlmrec.artifacts import ArtifactStore, storage_errors, write_json
from hnlmrec.config import to_toml
from hnlmrec.console import ProgressReporter, SilentProgress
from hnlmrec.errors import ConfigError, UnknownChoiceError
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.hard_negatives import plan_hard_negatives
from hnlmrec.generation.plan import CallPlan, Prices
from hnlmrec.generation.preferences import plan_preferences
from hnlmrec.generation.profiles import plan_profiles
from hnlmrec.pipeline.build import build_graph
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.data_warnings import warn_of_data
from hnlmrec.pipeline.graph import Node, NodeResult, run_graph
from hnlmrec.pipeline.report import write_run_report
from hnlmrec.pipeline.results import RESULT, STAGES, describe_run, open_run
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.pipeline.training_stages import RecommenderStage
from hnlmrec.processes import joined
from hnlmrec.rng import RandomStreams

log = logging.getLogger(__name__)
_OUTDATED = (RESULT, STAGES, "metrics.json", "metrics.jsonl", "report.html")
STAGE_NAMES = (
    "prepare",
    "profiles",
    "hard_negatives",
    "encode",
    "holdout",
    "pretrain",
    "triplets",
    "finetune",
    "adopt",
    "vectors",
    "judge",
    "preferences",
    "train",
    "evaluate",
    "report",
)


def run_pipeline(
    config: RunConfig,
    store: ArtifactStore | None = None,
    *,
    until: str | None = None,
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """Run what is missing of a configuration; return what `--json` prints.

    Args:
        config: the run.
        store: where artefacts are kept; by default the folder `runtime.artifacts`.
        until: the last stage to run; None for all, the report included.
        progress: shows how far it has come.

    Returns:
        of the main process, where a launcher (torchrun, accelerate) has started several; {} of the others.

    Raises:
        UnknownChoiceError: there is no stage `until`.
        UserInputError: the configuration or the data is wrong.
    """
    if until is not None and until not in STAGE_NAMES:
        raise UnknownChoiceError("stage", until, STAGE_NAMES)
    started = time.perf_counter()
    store = store or ArtifactStore(Path(config.runtime.artifacts))
    folder = Path(config.runtime.runs) / config.name
    with joined() as processes, _session(config, store) as session:
        shown = progress if progress is not None and processes.is_main else SilentProgress()
        nodes = _up_to(build_graph(config, session, shown), until)
        prepared = run_graph(nodes[:1], store)
        warn_of_data(prepared["prepare"], config.data)
        n_items = prepared["prepare"].counts["items"]
        _check_catalogue(config, n_items)
        left_out = _left_out(nodes, n_items)
        results = run_graph([node for node in nodes if node.label not in left_out], store, prepared)
    if not processes.is_main:
        return {}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in _OUTDATED:
            (folder / name).unlink(missing_ok=True)
        (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        write_json(folder / STAGES, [result.describe() for result in results.values()])
        result = describe_run(config, folder, results, seconds=time.perf_counter() - started)
        result["left_out"] = left_out
        if "experiment" in result:
            _copy_main_results(folder, results, result["experiment"])
        write_json(folder / RESULT, result)
        if until in (None, "report"):
            result["report"] = str(write_run_report(open_run(folder)))
    return result


def prepare_only(config: RunConfig, store: ArtifactStore | None = None) -> NodeResult:
    """Prepare the data of a configuration and return its node."""
    store = store or ArtifactStore(Path(config.runtime.artifacts))
    with _session(config, store) as session:
        nodes = _up_to(build_graph(config, session, SilentProgress()), "prepare")
        prepared = run_graph(nodes, store)["prepare"]
    warn_of_data(prepared, config.data, repeat=True)
    return prepared


def nodes_of(config: RunConfig) -> list[Node]:
    """Return the graph of a configuration, to be looked at: nothing is run."""
    session = LLMSession(config.llm, Path(config.runtime.artifacts) / "llm_cache.sqlite")
    return build_graph(config, session, SilentProgress())


def plan_run(config: RunConfig, store: ArtifactStore | None = None) -> dict[str, Any]:
    """Return what the LLM stages would cost at most, without a single call; the data is prepared for it.

    The profiles that the prompts of hard negatives will hold are planned at 200 characters each.
    """
    store = store or ArtifactStore(Path(config.runtime.artifacts))
    prepared = prepare_only(config, store)
    with _session(config, store) as session:
        labels = {node.label for node in build_graph(config, session, SilentProgress())}
    catalogue = TextCatalogue.load(prepared.path)
    prices = Prices(config.llm.prompt_price, config.llm.completion_price)
    stages: dict[str, CallPlan] = {}
    completion, streams = config.llm.completion(), RandomStreams(config.seed)
    for label in sorted(labels & {"profiles", "profiles/inner"}):
        stages[label] = plan_profiles(
            catalogue, config.profiles, completion=completion, streams=streams, prices=prices
        )
    if "hard_negatives" in labels:
        stages["hard_negatives"] = plan_hard_negatives(
            catalogue, config.hard_negatives, completion=completion, streams=streams, prices=prices
        )
    if "preferences" in labels:
        stages["preferences"] = plan_preferences(
            catalogue, config.preferences, completion=completion, streams=streams, prices=prices
        )
    total = sum(stages.values(), CallPlan())
    return {
        "dataset": dict(prepared.counts),
        "model": config.llm.model,
        "stages": {name: plan.figures() for name, plan in stages.items()},
        "total": total.figures(),
    }


@contextmanager
def _session(config: RunConfig, store: ArtifactStore) -> Iterator[LLMSession]:
    _use_threads(config.runtime.threads)
    with LLMSession(config.llm, store.root / "llm_cache.sqlite", config.runtime) as session:
        yield session


def _use_threads(n: int | None) -> None:
    if n is None:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n > cores:
        raise ConfigError(f"runtime.threads is {n}, and this process may use {cores}: give 1 to {cores}.")
    torch.set_num_threads(n)
    numba.set_num_threads(n)


def _check_catalogue(config: RunConfig, n_items: int) -> None:
    """Find out before the long stages, not after them, that a list is longer than the catalogue."""
    lists = {"evaluation.ks": max(config.evaluation.ks)}
    _, _, k = config.training.select_by.partition("@")
    if k.isdigit():
        lists["training.select_by"] = int(k)
    too_long = [f"{name} asks for {k} items" for name, k in lists.items() if k > n_items]
    if too_long:
        raise ConfigError(
            f"{' and '.join(too_long)}, but the catalogue has {n_items}. Set lists of at most that length, for "
            f"example evaluation.ks=[{min(5, n_items)}] training.select_by=recall@{min(5, n_items)}."
        )


def _left_out(nodes: list[Node], n_items: int) -> dict[str, str]:
    """Return, by label, why a recommender does not fit a catalogue of this size; the run goes on without it."""
    reasons: dict[str, str] = {}
    for node in nodes:
        if isinstance(node.stage, RecommenderStage):
            try:
                node.stage.recommender().check_catalogue(n_items)
            except ConfigError as error:
                reasons[node.label] = str(error)
                log.warning("%s is left out: %s", node.label, error)
    return reasons


def _up_to(nodes: list[Node], until: str | None) -> list[Node]:
    """Keep the nodes of the stages up to `until`, and what they are made from."""
    if until is None:
        return nodes
    last = STAGE_NAMES.index(until)
    kept = {node.label for node in nodes if STAGE_NAMES.index(_stage_of(node)) <= last}
    for node in reversed(nodes):  # inputs come before the nodes that read them
        if node.label in kept:
            kept.update(node.inputs.values())
    return [node for node in nodes if node.label in kept]


def _stage_of(node: Node) -> str:
    return "evaluate" if node.stage.name == "recommender" else node.stage.name


def _copy_main_results(folder: Path, results: Mapping[str, NodeResult], label: str) -> None:
    shutil.copyfile(results[f"train/{label}"].path / "metrics.jsonl", folder / "metrics.jsonl")
    if f"evaluate/{label}" in results:
        shutil.copyfile(results[f"evaluate/{label}"].path / "metrics.json", folder / "metrics.json")
