"""Stages, the graph they form, and its runner: a stage whose artefact is there is never run again."""

from __future__ import annotations

import functools
import logging
import platform
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from hnlmrec.artifacts import Artifact, ArtifactStore, artifact_key
from hnlmrec.config import Config, fingerprint_fields
from hnlmrec.processes import current

log = logging.getLogger(__name__)
C = TypeVar("C", bound=Config)
_PACKAGES = ("numpy", "polars", "scipy", "torch", "openai", "xllamacpp", "sentence-transformers", "transformers")


@dataclass(frozen=True)
class StageSummary:
    """What a stage says of its work; it goes into the manifest.

    Attributes:
        counts: requested, succeeded, failed, cached and whatever else the stage counts.
    """

    counts: Mapping[str, Any] = field(default_factory=dict)


class Stage(ABC, Generic[C]):
    """One step of the pipeline: reads input artefacts, writes its payload into a folder.

    Attributes:
        name: folder of its artefacts.
        version: raised whenever the same config and inputs give another payload.
        config: all that decides the payload besides the inputs.
        shared: whether all processes of a launcher run it together, of which the main one alone writes; any other
            stage is run by the main process, and the others wait.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    shared: ClassVar[bool] = False
    config: C

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Make the payload in `out`, which may hold what an interrupted run has made already."""

    def external_inputs(self) -> dict[str, str]:
        """Return keys of what comes from outside of the store (the sha256 of a source file, say)."""
        return {}


@dataclass(frozen=True)
class Node:
    """A stage's place in a graph.

    Attributes:
        label: unique in the graph, for example "train/semantic+random".
        stage: what is run.
        inputs: role of an input -> label of the node that makes it.
    """

    label: str
    stage: Stage[Any]
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeResult:
    """What a run has of a node: its artefact, and whether it was there before."""

    label: str
    artifact: Artifact
    reused: bool

    @property
    def path(self) -> Path:
        """Folder of the payload."""
        return self.artifact.path

    @property
    def counts(self) -> Mapping[str, Any]:
        """What the stage counted."""
        counts: Mapping[str, Any] = self.artifact.manifest["counts"]
        return counts

    def describe(self) -> dict[str, Any]:
        """Return the line of this node in a run's stages.json."""
        manifest = self.artifact.manifest
        return {
            "label": self.label,
            "stage": manifest["stage"],
            "key": self.artifact.key,
            "path": str(self.path.resolve()),
            "seconds": manifest["seconds"],
            "reused": self.reused,
            "counts": dict(self.counts),
        }


def run_graph(
    nodes: Sequence[Node], store: ArtifactStore, done: Mapping[str, NodeResult] | None = None
) -> dict[str, NodeResult]:
    """Run the nodes in their order, in which inputs come first; return the results by label.

    Args:
        nodes: labels differ.
        store: where artefacts are looked up and committed.
        done: results of an earlier call, whose nodes are passed over.
    """
    results = dict(done or {})
    for node in nodes:
        if node.label not in results:
            results[node.label] = _run_node(node, results, store)
    return results


def keys_of(
    nodes: Iterable[Node],
    external: Callable[[Node], Mapping[str, str]] = lambda node: node.stage.external_inputs(),
) -> dict[str, str]:
    """Return the keys of the nodes' artefacts by label, whether they are there or not.

    Args:
        nodes: inputs come first.
        external: gives a node's `external_inputs`.
    """
    keys: dict[str, str] = {}
    for node in nodes:
        inputs = {role: keys[label] for role, label in node.inputs.items()}
        keys[node.label] = _key(node.stage, inputs, external(node))
    return keys


def _key(stage: Stage[Any], inputs: Mapping[str, str], external: Mapping[str, str]) -> str:
    return artifact_key(stage.name, stage.version, stage.config, {**inputs, **external})


def run_last(nodes: Sequence[Node], store: ArtifactStore) -> NodeResult:
    """Run the last node alone, whose inputs are there; what they were made from may be gone."""
    *before, last = nodes
    done = {}
    for node, key in zip(before, keys_of(before).values(), strict=True):
        artifact = Artifact(store.path(node.stage.name, key), {"key": key})
        done[node.label] = NodeResult(node.label, artifact, reused=True)
    return run_graph([last], store, done)[last.label]


def _run_node(node: Node, results: Mapping[str, NodeResult], store: ArtifactStore) -> NodeResult:
    inputs = {role: results[label].artifact.key for role, label in node.inputs.items()}
    external = node.stage.external_inputs()  # may hash a large source: asked for once
    key = _key(node.stage, inputs, external)
    processes = current()
    found = store.find(node.stage.name, key)
    if processes.tell(found is not None):
        log.info("%s: found %s", node.label, key)
        reused = True
    elif processes.is_main:
        log.info("%s: making %s", node.label, key)
        reused = _make(node, results, store, key, {"inputs": inputs, "external_inputs": external})
    else:
        reused = _help(node, results)
    processes.wait()
    made = found or store.find(node.stage.name, key)
    assert made is not None
    return NodeResult(node.label, made, reused)


def _make(
    node: Node, results: Mapping[str, NodeResult], store: ArtifactStore, key: str, facts: Mapping[str, Any]
) -> bool:
    """Run a stage and commit what it made; return whether another run has made it in the meantime."""
    started = time.perf_counter()
    with store.create(node.stage.name, key) as work:
        if node.stage.shared:
            current().tell(None if work.found is not None else str(work.path.resolve()))
        if work.found is None:
            summary = node.stage.run(_paths(node, results), work.path)
            work.facts |= {**_facts(node, summary, time.perf_counter() - started), **facts}
    return work.found is not None


def _help(node: Node, results: Mapping[str, NodeResult]) -> bool:
    """Take part in a shared stage; return whether it was made in the meantime."""
    path = current().tell(None) if node.stage.shared else None
    if path is not None:
        node.stage.run(_paths(node, results), Path(path))
    return node.stage.shared and path is None


def _paths(node: Node, results: Mapping[str, NodeResult]) -> dict[str, Path]:
    return {role: results[label].path for role, label in node.inputs.items()}


def _facts(node: Node, summary: StageSummary, seconds: float) -> dict[str, Any]:
    """Return what the manifest says of how the payload was made."""
    return {
        "version": node.stage.version,
        "config": fingerprint_fields(node.stage.config),
        "counts": dict(summary.counts),
        "seconds": round(seconds, 3),
        "environment": environment(),
    }


@functools.cache
def environment() -> dict[str, Any]:
    """Return the commit, the versions and the machine's kind that a manifest records."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "hnlmrec": metadata.version("hnlmrec"),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": versions,
    }


def _commit() -> str | None:
    """Return the commit of the checkout that the package runs from; None where it was installed from a wheel."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
