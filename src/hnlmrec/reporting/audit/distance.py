"""Semantic against behavioural distance of the negatives, beside held-out positives and random items.

Semantic: the cosine of an item's text vector with the user's taste, the mean of the unit text vectors of the
user's train items. Behavioural: the score of a trained model for (user, item), in standard deviations of that
user's scores over the catalogue. HNLMRec's hard negatives are meant to be near in the first and far in the second.

One model judges all samplers of an initialisation, since each sampler's own model has learned to score its own
negatives low: the one trained with uniform negatives, else the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.reporting.audit.drawn import Drawn, Numbers, main_series
from hnlmrec.reporting.inputs import Experiment, ReportInputs

HELD_OUT, RANDOM = "held-out positives", "random items"
_MOST = 20_000  # pairs of a group; more do not change the picture
_SEED = 0  # of what is drawn at random, so that an audit made twice is the same

Vectors = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Group:
    """Pairs of one kind: `points` float64 [n, 2] holds (cosine, standardised score)."""

    name: str
    points: Points

    @property
    def means(self) -> tuple[float, float]:
        """Mean cosine and mean standardised score."""
        cosine, score = self.points.mean(axis=0)
        return float(cosine), float(score)


@dataclass(frozen=True)
class DistanceMap:
    """The groups of one initialisation.

    Attributes:
        initialisation: of the experiments.
        judge: label of the experiment whose model gives the scores.
        groups: held-out positives, random items, and each main series at its last epoch.
    """

    initialisation: str
    judge: str
    groups: tuple[Group, ...]


def distance_maps(inputs: ReportInputs, drawn: Sequence[Drawn]) -> list[DistanceMap]:
    """Return a map for each initialisation; none where the run has no text vectors of the items."""
    if inputs.encode is None or not (inputs.encode / "items.npy").exists():
        return []
    dataset = inputs.dataset
    vectors, _ = EmbeddingTable.load(inputs.encode, "items").rows(dataset.items.all_ids)
    texts = unit_rows(vectors)
    maps = []
    for initialisation in dict.fromkeys(part.experiment.initialisation for part in drawn):
        parts = [part for part in drawn if part.experiment.initialisation == initialisation]
        maps.append(_map(dataset, texts, initialisation, parts))
    return maps


def _map(dataset: InteractionDataset, texts: Vectors, initialisation: str, parts: Sequence[Drawn]) -> DistanceMap:
    judge = next((p.experiment for p in parts if p.experiment.sampler == "uniform"), parts[0].experiment)
    scores = _Scores(judge, dataset)
    rng = np.random.default_rng(_SEED)
    pairs = {HELD_OUT: _held_out(dataset), RANDOM: _random(dataset, rng)}
    for series in main_series(parts):
        last = series.last_epoch
        pairs[series.name] = (last["user"].to_numpy().astype(np.int64), last["item"].to_numpy().astype(np.int64))
    taste = _tastes(dataset, texts)
    has_taste, has_text = (np.linalg.norm(vectors, axis=1) > 0 for vectors in (taste, texts))
    groups = []
    for name, (all_users, all_items) in pairs.items():
        known = np.flatnonzero(has_taste[all_users] & has_text[all_items])  # the others have no text to compare
        chosen = known[np.sort(rng.permutation(len(known))[:_MOST])]
        users, items = all_users[chosen], all_items[chosen]
        if len(users):
            groups.append(Group(name, np.stack([_cosines(taste, texts, users, items), scores(users, items)], 1)))
    return DistanceMap(initialisation, judge.label, tuple(groups))


class _Scores:
    """Scores of a model's best epoch, in standard deviations of each user's scores over the catalogue."""

    def __init__(self, experiment: Experiment, dataset: InteractionDataset) -> None:
        self.users, self.items = (
            EmbeddingTable.load(experiment.train, name).rows(vocabulary.all_ids)[0]
            for name, vocabulary in (("users", dataset.users), ("items", dataset.items))
        )
        self.mean = self.items.mean(axis=0)
        self.covariance = np.atleast_2d(np.cov(self.items, rowvar=False, bias=True))

    def __call__(self, users: Numbers, items: Numbers) -> Points:
        vectors = self.users[users].astype(np.float64)
        scores = np.einsum("nd,nd->n", vectors, self.items[items] - self.mean)
        spread = np.sqrt(np.maximum(np.einsum("nd,de,ne->n", vectors, self.covariance, vectors, optimize=True), 0))
        return np.asarray(scores / np.maximum(spread, 1e-12))


def _tastes(dataset: InteractionDataset, texts: Vectors) -> Vectors:
    """Return the unit vector of each user's taste, float32 [n_users, d]; zeros for a user without train items."""
    return unit_rows(np.asarray(dataset.train.to_scipy() @ texts, dtype=np.float32))


def _cosines(taste: Vectors, texts: Vectors, users: Numbers, items: Numbers) -> Points:
    return np.asarray(np.einsum("nd,nd->n", taste[users], texts[items]), dtype=np.float64)


def _held_out(dataset: InteractionDataset) -> tuple[Numbers, Numbers]:
    users = np.concatenate([dataset.valid.users, dataset.test.users]).astype(np.int64)
    return users, np.concatenate([dataset.valid.indices, dataset.test.indices]).astype(np.int64)


def _random(dataset: InteractionDataset, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Draw users in proportion to their train items, and items outside of those."""
    users = dataset.train.users[rng.integers(len(dataset.train), size=_MOST)].astype(np.int64)
    items = rng.integers(dataset.n_items, size=_MOST)
    free = ~dataset.train.contains(users, items)
    return users[free], items[free]
