"""Which catalogue items a generated vector is near to, and what those are to the user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.reporting.inputs import ReportInputs

NEAREST = 5


@dataclass(frozen=True)
class Neighbour:
    """A catalogue item near a generated vector; `relation` is what it is to the user, "" for unknown."""

    title: str
    item: int
    cosine: float
    relation: str


class Nearest:
    """Finds the catalogue items whose vectors are nearest to a generated one.

    `open` gives None where the run has no such vectors, or where they lie in another space than the items' texts.
    """

    def __init__(self, inputs: ReportInputs, items: npt.NDArray[np.float32], table: HardNegativeTable) -> None:
        self.inputs, self.items, self.table = inputs, unit_rows(items), table

    @classmethod
    def open(cls, inputs: ReportInputs) -> Nearest | None:
        """Read the vectors of a run."""
        if inputs.hard_negative_table is None or inputs.encode is None:
            return None
        items, _ = EmbeddingTable.load(inputs.encode, "items").rows(inputs.dataset.items.all_ids)
        table = HardNegativeTable.load(inputs.hard_negative_table, inputs.dataset)
        return cls(inputs, items, table) if table.size == items.shape[1] else None

    def rows_of(self, generated: Sequence[dict[str, Any]]) -> dict[int, int]:
        """Map lines of hard_negatives.jsonl to rows of the table: the same user, positive and item, in order.

        Outcomes that are not kept for training have no vector.
        """
        table, users, items = self.table, self.inputs.dataset.users, self.inputs.dataset.items
        waiting: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for place in range(len(table) - 1, -1, -1):
            key = (int(table.users[place]), int(table.positives[place]), int(table.items[place]))
            waiting[key].append(place)
        found = {}
        for at, row in enumerate(generated):
            numbers = [
                -1 if row[name] is None else int(items.numbers([row[name]])[0])
                for name in ("positive_id", "item_id")
            ]
            places = waiting[int(users.numbers([row["user_id"]])[0]), numbers[0], numbers[1]]
            if places:
                found[at] = places.pop()
        return found

    def of(self, place: int, user: int) -> tuple[Neighbour, ...]:
        """Return the nearest items of a row of the table, nearest first."""
        vector = np.asarray(self.table.vectors[place : place + 1], dtype=np.float32)
        cosines = self.items @ unit_rows(vector)[0]
        best = np.argsort(-cosines, kind="stable")[:NEAREST].tolist()
        titles, dataset = self.inputs.titles, self.inputs.dataset
        return tuple(Neighbour(titles[i], i, float(cosines[i]), relation_to(dataset, user, i)) for i in best)


def relation_to(dataset: InteractionDataset, user: int, item: int) -> str:
    """Return what an item is to a user: in the history, held out, or "" for unknown."""
    if dataset.train.contains(user, item):
        return "in the user's history"
    held_out = dataset.valid.contains(user, item) or dataset.test.contains(user, item)
    return "held out: a false negative" if held_out else ""
