"""Generated negatives to read: who it was made for, why, and what the vector is near to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.reporting.inputs import ReportInputs, read_jsonl

OUTCOMES = {
    "catalogue": "in the catalogue",
    "observed": "the user has it already",
    "copied_positive": "a copy of the positive",
    "off_catalogue": "not in the catalogue",
}
_NEAREST = 5


@dataclass(frozen=True)
class Neighbour:
    """A catalogue item near a generated vector: title, cosine, and what it is to the user ("" for unknown)."""

    title: str
    cosine: float
    relation: str


@dataclass(frozen=True)
class Example:
    """One generated negative with what it was made from. Texts are "" where there are none."""

    user: str
    user_profile: str
    positive: str
    positive_profile: str
    negative: str
    outcome: str
    matched: str
    reasoning: str
    neighbours: tuple[Neighbour, ...]


def examples(inputs: ReportInputs, n: int = 12) -> list[Example]:
    """Return up to n examples, each of another user as long as there are, with every outcome that occurs."""
    path = inputs.hard_negatives / "hard_negatives.jsonl" if inputs.hard_negatives is not None else None
    rows = read_jsonl(path)
    chosen = _choose(rows, n)
    places = _table_rows(inputs, rows)
    near = _Nearest(inputs) if places else None
    profiles = {kind: _profiles(inputs.profiles, kind) for kind in ("user", "item")}
    return [_example(inputs, rows[at], profiles, near, places.get(at)) for at in chosen]


def _choose(rows: list[dict[str, Any]], n: int) -> list[int]:
    """Take turns between the outcomes, and prefer users who were not shown yet."""
    queues: dict[str, list[int]] = defaultdict(list)
    shown: set[str] = set()
    later: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        (later if row["user_id"] in shown else queues)[row["outcome"]].append(at)
        shown.add(row["user_id"])
    turns = [queues[outcome] + later[outcome] for outcome in OUTCOMES if queues[outcome] or later[outcome]]
    mixed = [
        turn[place] for place in range(max(map(len, turns), default=0)) for turn in turns if place < len(turn)
    ]
    return mixed[:n]


def _profiles(folder: Path | None, kind: str) -> dict[str, str]:
    rows = read_jsonl(folder / f"{kind}_profiles.jsonl" if folder is not None else None)
    return {row[f"{kind}_id"]: row["summarization"] or "" for row in rows}


def _table_rows(inputs: ReportInputs, rows: list[dict[str, Any]]) -> dict[int, int]:
    """Map a generated negative to its row of vectors: the same user, positive and item, in order.

    Outcomes that are not kept for training have no vector.
    """
    if inputs.hard_negative_table is None or inputs.encode is None:
        return {}
    table = HardNegativeTable.load(inputs.hard_negative_table, inputs.dataset)
    waiting: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for place in range(len(table) - 1, -1, -1):
        waiting[int(table.users[place]), int(table.positives[place]), int(table.items[place])].append(place)
    users, items = inputs.dataset.users, inputs.dataset.items
    found = {}
    for at, row in enumerate(rows):
        numbers = [
            -1 if row[name] is None else int(items.numbers([row[name]])[0]) for name in ("positive_id", "item_id")
        ]
        places = waiting[int(users.numbers([row["user_id"]])[0]), numbers[0], numbers[1]]
        if places:
            found[at] = places.pop()
    return found


class _Nearest:
    """Finds the catalogue items whose vectors are nearest to a generated one."""

    def __init__(self, inputs: ReportInputs) -> None:
        assert inputs.encode is not None
        assert inputs.hard_negative_table is not None
        self.inputs = inputs
        items, _ = EmbeddingTable.load(inputs.encode, "items").rows(inputs.dataset.items.all_ids)
        self.items = _unit(items)
        self.vectors = HardNegativeTable.load(inputs.hard_negative_table, inputs.dataset).vectors

    def of(self, place: int, user: int) -> tuple[Neighbour, ...]:
        cosines = self.items @ _unit(np.asarray(self.vectors[place : place + 1], dtype=np.float32))[0]
        best = np.argsort(-cosines, kind="stable")[:_NEAREST].tolist()
        return tuple(Neighbour(self.inputs.titles[i], float(cosines[i]), self._relation(user, i)) for i in best)

    def _relation(self, user: int, item: int) -> str:
        dataset = self.inputs.dataset
        if dataset.train.contains(user, item):
            return "in the user's history"
        held_out = dataset.valid.contains(user, item) or dataset.test.contains(user, item)
        return "held out: a false negative" if held_out else ""


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _example(
    inputs: ReportInputs,
    row: dict[str, Any],
    profiles: dict[str, dict[str, str]],
    near: _Nearest | None,
    place: int | None,
) -> Example:
    dataset, titles = inputs.dataset, inputs.titles
    positive, item = row["positive_id"], row["item_id"]
    user = int(dataset.users.numbers([row["user_id"]])[0])
    return Example(
        user=row["user_id"],
        user_profile=profiles["user"].get(row["user_id"], ""),
        positive="" if positive is None else titles[int(dataset.items.numbers([positive])[0])],
        positive_profile=profiles["item"].get(positive, ""),
        negative=row["name"] or "",
        outcome=OUTCOMES.get(row["outcome"], row["outcome"]),
        matched="" if item is None else titles[int(dataset.items.numbers([item])[0])],
        reasoning=row["reasoning"] or "",
        neighbours=near.of(place, user) if near is not None and place is not None else (),
    )
