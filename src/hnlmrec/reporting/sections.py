"""The parts of the report that are drawn: curves, degrees, hardness, the map of some users' items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import SPLITS
from hnlmrec.errors import MissingFileError
from hnlmrec.evaluation.files import drawn_frame
from hnlmrec.reporting import plots
from hnlmrec.reporting.inputs import Experiment, ReportInputs, read_jsonl
from hnlmrec.reporting.tables import metric_title

_MAP_USERS = 4
_BACKGROUND = 1500  # catalogue items drawn at most
_SEED = 0  # of what is drawn at random for the map, so that a report made twice is the same

Vectors = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plot:
    """A plot and what it shows, in words; `whole` for one as wide as the page."""

    svg: str
    caption: str
    whole: bool = False


def degrees(inputs: ReportInputs) -> Plot:
    """Draw how unevenly the interactions are spread over users and items."""
    parts = [inputs.dataset.split(name) for name in SPLITS]
    users = np.sum([part.degrees for part in parts], axis=0)
    items = np.sum([part.item_degrees for part in parts], axis=0)
    svg = plots.degree_plot({"users": users, "items": items})
    return Plot(svg, "Interactions of each user and of each item, all splits together, by rank.")


def learning_curves(inputs: ReportInputs, k: int) -> list[Plot]:
    """Draw the metrics that training watched over the epochs, one plot for each initialisation and metric."""
    histories = {e.label: read_jsonl(e.train / "metrics.jsonl") for e in inputs.experiments}
    split = "test" if any(e.selected_on_test for e in inputs.experiments) else "valid"
    curves = {
        label: {name: _curve(rows, split, name) for name in _watched(rows, split)}
        for label, rows in histories.items()
    }
    names = list(dict.fromkeys(name for by_name in curves.values() for name in by_name))
    names = [name for name in (f"recall@{k}", f"ndcg@{k}") if name in names] or names[:2]
    drawn = []
    for name in names:
        values = [y for by_name in curves.values() for y in by_name.get(name, ([], []))[1]]
        for initialisation, experiments in by_initialisation(inputs).items():
            lines = {e.sampler: curves[e.label][name] for e in experiments if name in curves[e.label]}
            if lines:
                svg = plots.line_plot(
                    lines,
                    x_label="epoch",
                    y_label=f"{metric_title(name)} ({split})",
                    y_range=(min(values), max(values)),
                    styles=styles_of(inputs),
                )
                drawn.append(Plot(svg, f"{metric_title(name)} on {split}, {initialisation} initialisation."))
    return drawn


def hardness(inputs: ReportInputs) -> list[Plot]:
    """Draw how hard the drawn negatives are: score of the negative minus score of its positive."""
    gaps = {e.label: _gaps(e) for e in inputs.experiments}
    drawn = []
    for initialisation, experiments in by_initialisation(inputs).items():
        values = {e.sampler: gaps[e.label] for e in experiments if len(gaps[e.label])}
        if values:
            svg = plots.histogram(
                values, x_label="score of the negative − score of the positive", styles=styles_of(inputs)
            )
            caption = (
                f"Negatives of the last sampled epoch, {initialisation} initialisation. Right of 0, the model "
            )
            drawn.append(
                Plot(svg, f"{caption}ranks the negative above the positive: the harder, the further right.")
            )
    return drawn


def maps(inputs: ReportInputs) -> list[Plot]:
    """Draw some users' positives, generated negatives and random items on the items' principal plane."""
    if inputs.encode is None or not (inputs.encode / "items.npy").exists():
        return []
    dataset = inputs.dataset
    items, _ = EmbeddingTable.load(inputs.encode, "items").rows(dataset.items.all_ids)
    project, shares = _principal_plane(items.astype(np.float64))
    table = None
    if inputs.hard_negative_table is not None:
        table = HardNegativeTable.load(inputs.hard_negative_table, dataset)
    rng = np.random.default_rng(_SEED)
    background = project(items[np.sort(rng.permutation(len(items))[:_BACKGROUND])].astype(np.float64))
    labels = tuple(f"component {n + 1} ({100 * share:.0f} % of the variance)" for n, share in enumerate(shares))
    drawn = []
    for user in _map_users(inputs, table):
        hard = np.empty((0, items.shape[1])) if table is None else table.vectors[table.users == user]
        seen = dataset.train.of(user)
        free = np.setdiff1d(np.arange(dataset.n_items), seen)
        random = rng.permutation(free)[: max(len(hard), 10)]
        groups = {"positives (train)": items[seen], "generated negatives": hard, "random negatives": items[random]}
        points = {
            f"{name}: {len(vectors)}": project(np.asarray(vectors, np.float64))
            for name, vectors in groups.items()
            if len(vectors)
        }
        svg = plots.map_plot(background, points, axis_labels=(labels[0], labels[1]))
        drawn.append(Plot(svg, f"User {dataset.users.all_ids[user]}."))
    return drawn


def _map_users(inputs: ReportInputs, table: HardNegativeTable | None) -> list[int]:
    """Choose the users with most generated negatives; without any, those with most train items."""
    degrees = inputs.dataset.train.degrees
    made = degrees if table is None else np.bincount(table.users, minlength=len(degrees))
    order = np.lexsort((np.arange(len(degrees)), -degrees, -made))
    return [int(user) for user in order[:_MAP_USERS] if made[user] and degrees[user]]


def _principal_plane(vectors: Vectors) -> tuple[Callable[[Vectors], Vectors], tuple[float, float]]:
    """Return the projection [n, d] -> [n, 2] on the two directions of largest variance, and their shares."""
    mean = vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.atleast_2d(np.cov(vectors - mean, rowvar=False)))
    plane = directions[:, ::-1][:, :2]
    if plane.shape[1] < 2:  # vectors of length 1 lie on a line
        plane = np.column_stack([plane, np.zeros(len(plane))])
    top = np.append(np.maximum(values[::-1][:2], 0.0), 0.0) / max(values.sum(), np.finfo(np.float64).tiny)
    return lambda rows: (rows - mean) @ plane, (float(top[0]), float(top[1]))


def _gaps(experiment: Experiment) -> npt.NDArray[np.float64]:
    try:
        frame = drawn_frame(experiment.train, ("epoch", "positive_score", "negative_score"))
    except MissingFileError:
        return np.empty(0)
    last = frame.filter(pl.col("epoch") == pl.col("epoch").max())
    gaps = (last["negative_score"] - last["positive_score"]).to_numpy().astype(np.float64)
    return np.asarray(gaps[np.isfinite(gaps)])


def _watched(rows: list[dict[str, Any]], split: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.get(split) or {}))


def _curve(rows: list[dict[str, Any]], split: str, name: str) -> tuple[list[float], list[float]]:
    measured = [row for row in rows if name in (row.get(split) or {})]
    return [row["epoch"] for row in measured], [row[split][name] for row in measured]


def by_initialisation(inputs: ReportInputs) -> dict[str, list[Experiment]]:
    """Return the experiments by where their embeddings start, in the order of the run."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in inputs.experiments:
        groups.setdefault(experiment.initialisation, []).append(experiment)
    return groups


def styles_of(inputs: ReportInputs) -> Mapping[str, int]:
    """Give each sampler the same colour, dashes and marker in every plot."""
    samplers = dict.fromkeys(experiment.sampler for experiment in inputs.experiments)
    return {sampler: number for number, sampler in enumerate(samplers)}
