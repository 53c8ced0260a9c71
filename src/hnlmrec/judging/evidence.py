"""What a judge weighs: scores of a user and all items, from behaviour, from texts, and from the tuned LLM."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.judging.co_interaction import CoInteractionConfig, tune_on_co_interactions
from hnlmrec.models.recommender import Recommender, squares_gib

Scores = npt.NDArray[np.float32]
_BLOCK = 1_024  # items whose cosines with all others are made at once, where not all are kept


class Evidence(Protocol):
    """One source of scores. What it learns, it learns in `fit`, from the train split that it is given alone."""

    name: str

    def fit(self, dataset: InteractionDataset) -> None:
        """Read the train split."""
        ...

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        ...


class RecommenderEvidence:
    """The score of a recommender that reads behaviour alone: EASE, or ItemKNN.

    Args:
        name: of this evidence, in reports.
        recommender: fitted anew on each train split.
    """

    def __init__(self, name: str, recommender: Recommender) -> None:
        self.name, self.recommender = name, recommender

    def fit(self, dataset: InteractionDataset) -> None:
        """Fit the recommender."""
        self.recommender.fit(dataset)

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        return np.asarray(self.recommender.score(users).numpy(), dtype=np.float32)


class PopularityEvidence:
    """log(1 + the item's train interactions), the same for every user.

    Other scores carry popularity in their own ways, and a sum of them has too much or too little of it: the weight
    of this one sets it right.
    """

    name = "popularity"

    def fit(self, dataset: InteractionDataset) -> None:
        """Count the interactions."""
        self._row = np.log1p(dataset.train.item_degrees).astype(np.float32)

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        return np.tile(self._row, (len(users), 1))


class TextEvidence:
    """The sum over the user's train items of max(cosine, 0)^power between their texts and the item's.

    All cosines are kept where `memory_limit_gib` has room for EASE; in a larger catalogue those of the users' own
    items are made whenever they are asked for, so memory grows with n_items alone.

    Args:
        item_vectors: text vectors by item id; an item without one has no text score.
        power: above 1, near texts count and merely related ones hardly do.
        memory_limit_gib: see `squares_gib`.
    """

    name = "text"

    def __init__(self, item_vectors: EmbeddingTable, power: float, memory_limit_gib: float) -> None:
        self.item_vectors, self.power, self.memory_limit_gib = item_vectors, power, memory_limit_gib

    def fit(self, dataset: InteractionDataset) -> None:
        """Read the train split, and make the cosines to that power where they are kept."""
        self._train = dataset.train.to_scipy()
        self._unit = unit_rows(self.vectors(dataset))
        keeps_all = squares_gib(dataset.n_items) <= self.memory_limit_gib
        self._weights = self._of(np.arange(dataset.n_items), self._unit) if keeps_all else None

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        rows = self._train[users]
        if self._weights is not None:
            return np.asarray(rows @ self._weights, dtype=np.float32)
        result = np.zeros(rows.shape, dtype=np.float32)
        own = np.unique(rows.indices).astype(np.int64)
        for start in range(0, len(own), _BLOCK):
            items = own[start : start + _BLOCK]
            weights: Any = self._of(items, self._unit[items])
            result += rows[:, items] @ weights
        return result

    def _of(self, items: Numbers, unit: Scores) -> Scores:
        """Return the weights of some items with all, float32 [n, n_items]; zero with themselves."""
        cosines: Scores = np.maximum(unit @ self._unit.T, np.float32(0.0))
        np.power(cosines, np.float32(self.power), out=cosines)
        cosines[np.arange(len(items)), items] = 0.0
        return cosines

    def vectors(self, dataset: InteractionDataset) -> npt.NDArray[Any]:
        """Return the text vectors that are compared, [n_items, d]."""
        return self.item_vectors.rows(dataset.items.all_ids)[0]


class TunedTexts:
    """Text vectors tuned on the behaviour of a train split; those of the last split are kept.

    Args:
        item_vectors: text vectors by item id, of an encoder or of a language model.
        config: see `CoInteractionConfig`.
        seed: of the pairs that it learns from; the same for each split.
    """

    def __init__(self, item_vectors: EmbeddingTable, config: CoInteractionConfig, seed: int) -> None:
        self.item_vectors, self.config, self.seed = item_vectors, config, seed
        self._last: tuple[InteractionDataset, EmbeddingTable] | None = None

    def on(self, dataset: InteractionDataset) -> EmbeddingTable:
        """Return the vectors tuned on the train split, by item id."""
        if self._last is None or self._last[0] is not dataset:
            vectors, _ = self.item_vectors.rows(dataset.items.all_ids)
            rng = np.random.default_rng(self.seed)
            tuned = tune_on_co_interactions(vectors, dataset.train, self.config, rng)
            self._last = dataset, EmbeddingTable(dataset.items, tuned)
        return self._last[1]


class TunedTextEvidence(TextEvidence):
    """As `TextEvidence`, with text vectors that are tuned on behaviour first.

    Args:
        name: of this evidence, in reports.
        texts: several pieces of evidence, with other powers, may share them.
        power: see `TextEvidence`.
        memory_limit_gib: see `TextEvidence`.
    """

    def __init__(self, name: str, texts: TunedTexts, power: float, memory_limit_gib: float) -> None:
        super().__init__(texts.item_vectors, power, memory_limit_gib)
        self.name, self.texts = name, texts

    def vectors(self, dataset: InteractionDataset) -> npt.NDArray[Any]:
        """Return the vectors tuned on the train split, [n_items, size]."""
        return self.texts.on(dataset).rows(dataset.items.all_ids)[0]


class DotEvidence:
    """The product of a user's and an item's vector, as somebody else has made them: a CF model, or the tuned LLM.

    A user or item without a vector scores zero. Nothing is fitted here; the maker must not have seen what the
    judge is fitted and measured on.

    Args:
        name: of this evidence, in reports.
        users: by user id.
        items: by item id, of the same size.
        cosine: compare directions alone.
    """

    def __init__(self, name: str, users: EmbeddingTable, items: EmbeddingTable, *, cosine: bool) -> None:
        self.name, self.cosine = name, cosine
        self._tables = users, items

    def fit(self, dataset: InteractionDataset) -> None:
        """Put the vectors into the order of the numbers."""
        users, items = self._tables
        parts: list[npt.NDArray[Any]] = [
            users.rows(dataset.users.all_ids)[0],
            items.rows(dataset.items.all_ids)[0],
        ]
        self._users: npt.NDArray[Any]
        self._items: npt.NDArray[Any]
        self._users, self._items = map(unit_rows, parts) if self.cosine else parts

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        return np.asarray(self._users[users] @ self._items.T, dtype=np.float32)
