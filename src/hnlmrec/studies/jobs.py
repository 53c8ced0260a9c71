"""The nodes of all cells as one graph of jobs: equal artefacts are one job, so shared stages are made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.config import Config
from hnlmrec.console import ProgressReporter, SilentProgress
from hnlmrec.pipeline.build import build_graph
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.graph import Node, keys_of, run_last
from hnlmrec.pipeline.session import LLMSession
from hnlmrec.pipeline.training_stages import RecommenderStage
from hnlmrec.studies.cells import Cell
from hnlmrec.studies.trial_stage import RecommenderTrialStage

TRIAL = "trial/"
_READ = ("prepare", "train/")  # labels of what the collector reads beside a cell's target


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


class Plan:
    """The jobs of cells, inputs first.

    Args:
        store: where artefacts are.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self.jobs: dict[str, Job] = {}
        self.nodes: dict[Cell, dict[str, str]] = {}
        """Ids of each cell's nodes by label."""
        self._known: dict[str, Mapping[str, str]] = {}

    def add(self, cell: Cell) -> None:
        """Find out which artefacts a cell needs; nothing is made.

        Raises:
            UserInputError: a source or a model is missing.
        """
        with LLMSession(cell.config.llm, self.store.root / "llm_cache.sqlite") as session:
            graph = cell_nodes(cell.config, cell.target, session, SilentProgress())
        keys = keys_of(graph, self._external)
        ids = self.nodes[cell] = {node.label: f"{node.stage.name}/{keys[node.label]}" for node in graph}
        for node in graph:
            id_ = ids[node.label]
            if id_ not in self.jobs:
                needs = frozenset(ids[label] for label in node.inputs.values())
                self.jobs[id_] = Job(id_, (node.stage.name, cell.place.dataset), cell, node.label, needs)

    def target(self, cell: Cell) -> Job:
        """Return the job that measures a cell."""
        return self.jobs[self.nodes[cell][cell.target]]

    def missing(self, cells: Iterable[Cell]) -> list[Job]:
        """Return the jobs that are still to be done for what is read of these cells, inputs first.

        What only served to make artefacts that are there is not made again, wherever it has gone.
        """
        found: dict[str, Job] = {}
        for cell in cells:
            for label, id_ in self.nodes[cell].items():
                if label == cell.target or label.startswith(_READ):
                    self._add_missing(id_, found)
        return list(found.values())

    def _add_missing(self, id_: str, found: dict[str, Job]) -> None:
        if id_ not in found and not (self.store.root / id_).exists():
            job = self.jobs[id_]
            for needed in sorted(job.needs):
                self._add_missing(needed, found)
            found[id_] = job

    def _external(self, node: Node) -> Mapping[str, str]:
        """Ask for the hash of a source once, not once a cell."""
        settings = {name: value for name, value in vars(node.stage).items() if isinstance(value, Config)}
        asked = repr(
            (node.stage.name, sorted((name, value.model_dump_json()) for name, value in settings.items()))
        )
        if asked not in self._known:
            self._known[asked] = node.stage.external_inputs()
        return self._known[asked]


def cell_nodes(config: RunConfig, target: str, session: LLMSession, progress: ProgressReporter) -> list[Node]:
    """Return the nodes that a target is made from, itself last.

    A target "trial/NAME" is that of the recommender NAME, measured on validation alone.
    """
    nodes = build_graph(config, session, progress)
    if target.startswith(TRIAL):
        measured = next(node for node in nodes if node.label == f"recommender/{target.removeprefix(TRIAL)}")
        assert isinstance(measured.stage, RecommenderStage)
        trial = RecommenderTrialStage(measured.stage.config, config.training.select_by)
        nodes = [*nodes, Node(target, trial, measured.inputs)]
    needed = {target}
    for node in reversed(nodes):  # inputs come before the nodes that read them
        if node.label in needed:
            needed.update(node.inputs.values())
    return [node for node in nodes if node.label in needed]


def run_job(config: RunConfig, label: str, store: ArtifactStore, progress: ProgressReporter) -> None:
    """Make the artefact of a node, whose inputs are there."""
    with LLMSession(config.llm, store.root / "llm_cache.sqlite", config.runtime) as session:
        run_last(cell_nodes(config, label, session, progress), store)
