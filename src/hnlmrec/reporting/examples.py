"""Generated negatives to read: who it was made for, why, and what the vector is near to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.reporting.inputs import ReportInputs, read_jsonl
from hnlmrec.reporting.neighbours import Nearest, Neighbour

OUTCOMES = {
    "catalogue": "in the catalogue",
    "observed": "the user has it already",
    "copied_positive": "a copy of the positive",
    "off_catalogue": "not in the catalogue",
}


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
    near = Nearest.open(inputs) if rows else None
    places = near.rows_of(rows) if near is not None else {}
    profiles = {kind: profiles_of(inputs.profiles, kind) for kind in ("user", "item")}
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


def profiles_of(folder: Path | None, kind: str) -> dict[str, str]:
    """Return the written profiles of kind "user" or "item" by id; nothing where none were written."""
    rows = read_jsonl(folder / f"{kind}_profiles.jsonl" if folder is not None else None)
    return {row[f"{kind}_id"]: row["summarization"] or "" for row in rows}


def _example(
    inputs: ReportInputs,
    row: dict[str, Any],
    profiles: dict[str, dict[str, str]],
    near: Nearest | None,
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
