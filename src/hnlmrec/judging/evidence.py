"""What a judge weighs: scores of a user and all items, from behaviour, from texts, and from the tuned LLM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.judging.co_interaction import CoInteractionConfig, tune_on_co_interactions
from hnlmrec.models.ease import EASEConfig, ease_weights
from hnlmrec.models.ease_text import positive_cosines
from hnlmrec.models.recommender import check_square_memory

Scores = npt.NDArray[np.float32]


class Evidence(Protocol):
    """One source of scores. What it learns, it learns in `fit`, from the train split that it is given alone."""

    name: str

    def fit(self, dataset: InteractionDataset) -> None:
        """Read the train split."""
        ...

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        ...


class ItemItemEvidence(ABC):
    """The sum over the user's train items h of weight(h, j)."""

    name: str

    def fit(self, dataset: InteractionDataset) -> None:
        """Read the train split, and make the weights [n_items, n_items]."""
        self._train = dataset.train.to_scipy()
        self._weights = self.weights(dataset)

    @abstractmethod
    def weights(self, dataset: InteractionDataset) -> Scores:
        """Return float32 [n_items, n_items]."""

    def scores(self, users: Numbers) -> Scores:
        """Return float32 [B, n_items]."""
        return np.asarray(self._train[users] @ self._weights, dtype=np.float32)


class EASEEvidence(ItemItemEvidence):
    """EASE's score: behaviour alone (Steck, 2019)."""

    name = "ease"

    def __init__(self, config: EASEConfig) -> None:
        self.config = config

    def weights(self, dataset: InteractionDataset) -> Scores:
        """Solve for the weights; see `ease_weights`."""
        return ease_weights(dataset, self.config).astype(np.float32)


class TextEvidence(ItemItemEvidence):
    """The sum over the user's train items of max(cosine, 0)^power between their texts and the item's.

    Args:
        item_vectors: text vectors by item id; an item without one has no text score.
        power: above 1, near texts count and merely related ones hardly do.
        memory_limit_gib: see `check_square_memory`.
    """

    name = "text"

    def __init__(self, item_vectors: EmbeddingTable, power: float, memory_limit_gib: float) -> None:
        self.item_vectors, self.power, self.memory_limit_gib = item_vectors, power, memory_limit_gib

    def weights(self, dataset: InteractionDataset) -> Scores:
        """Return the cosines to that power, zero on the diagonal."""
        check_square_memory(dataset.n_items, 1, self.memory_limit_gib, "text evidence")
        cosines = positive_cosines(self.vectors(dataset))
        np.power(cosines, np.float32(self.power), out=cosines)
        np.fill_diagonal(cosines, 0.0)
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
        memory_limit_gib: see `check_square_memory`.
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
