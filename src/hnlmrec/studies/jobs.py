"""The nodes of all cells as one graph of jobs: equal artefacts are one job, so shared stages are made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hnlmrec.artifacts import ArtifactStore, artifact_key
from hnlmrec.config import Config
from hnlmrec.console import ProgressReporter, SilentProgress
from hnlmrec.pipeline.build import build_graph
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.graph import Node, run_graph
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.studies.cells import Cell


@dataclass(frozen=True)
class Job:
    """One artefact to be made.

    Attributes:
        id: "stage/key", unique in the study.
        kind: stage and data set, whose jobs need about the same time and memory.
        cell: the first cell that needs it, from whose configuration it is made.
        label: of the node in that cell's graph.
        needs: ids of the jobs whose artefacts it reads.
    """

    id: str
    kind: tuple[str, str]
    cell: Cell
    label: str
    needs: frozenset[str]

    def path(self, store: ArtifactStore) -> Path:
        """Return where its artefact is, or will be."""
        return store.root / self.id

    @property
    def description(self) -> str:
        """What is made, in words."""
        return f"{self.kind[0]} {self.cell.place.name}"


@dataclass(frozen=True)
class Plan:
    """The jobs of a study, inputs first, and the ids of each cell's nodes by label."""

    jobs: Mapping[str, Job]
    nodes: Mapping[Cell, Mapping[str, str]]

    def target(self, cell: Cell) -> Job:
        """Return the job that measures a cell."""
        return self.jobs[self.nodes[cell][cell.target]]

    def missing(self, store: ArtifactStore) -> list[Job]:
        """Return the jobs that are still to be done, in their order."""
        return [job for job in self.jobs.values() if not job.path(store).exists()]


def cell_nodes(config: RunConfig, target: str, session: LLMSession, progress: ProgressReporter) -> list[Node]:
    """Return the nodes that a target is made from, itself last."""
    nodes = build_graph(config, session, progress)
    needed = {target}
    for node in reversed(nodes):  # inputs come before the nodes that read them
        if node.label in needed:
            needed.update(node.inputs.values())
    return [node for node in nodes if node.label in needed]


def plan_jobs(cells: Iterable[Cell], store: ArtifactStore) -> Plan:
    """Find out which artefacts the cells need; nothing is made.

    Raises:
        UserInputError: a source or a model is missing.
    """
    jobs: dict[str, Job] = {}
    nodes: dict[Cell, Mapping[str, str]] = {}
    known: dict[str, Mapping[str, str]] = {}
    for cell in cells:
        with LLMSession(cell.config.llm, store.root / "llm_cache.sqlite") as session:
            graph = cell_nodes(cell.config, cell.target, session, SilentProgress())
        nodes[cell] = _add_jobs(cell, graph, jobs, known)
    return Plan(jobs, nodes)


def run_job(config: RunConfig, label: str, store: ArtifactStore, progress: ProgressReporter) -> None:
    """Make the artefact of a node, whose inputs are there."""
    with LLMSession(config.llm, store.root / "llm_cache.sqlite") as session:
        run_graph(cell_nodes(config, label, session, progress), store)


def _add_jobs(
    cell: Cell, graph: Sequence[Node], jobs: dict[str, Job], known: dict[str, Mapping[str, str]]
) -> dict[str, str]:
    ids: dict[str, str] = {}
    for node in graph:
        inputs = {role: ids[label].rpartition("/")[2] for role, label in node.inputs.items()}
        key = artifact_key(
            node.stage.name, node.stage.version, node.stage.config, inputs | dict(_external(node, known))
        )
        id_ = ids[node.label] = f"{node.stage.name}/{key}"
        if id_ not in jobs:
            needs = frozenset(ids[label] for label in node.inputs.values())
            jobs[id_] = Job(id_, (node.stage.name, cell.place.dataset), cell, node.label, needs)
    return ids


def _external(node: Node, known: dict[str, Mapping[str, str]]) -> Mapping[str, str]:
    """Ask for the hash of a source once, not once a cell."""
    settings = {name: value for name, value in vars(node.stage).items() if isinstance(value, Config)}
    asked = repr((node.stage.name, sorted((name, value.model_dump_json()) for name, value in settings.items())))
    if asked not in known:
        known[asked] = node.stage.external_inputs()
    return known[asked]
