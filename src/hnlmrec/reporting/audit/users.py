"""What the audit shows of single users: who they are, what they hold, what was generated and drawn for them.

All texts were written by others. Here they lose what cannot be shown (control characters, halves of characters)
and what is too long; whoever shows them has to escape them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.data.tables import read_parquet
from hnlmrec.errors import UnknownIdError, did_you_mean
from hnlmrec.reporting.audit.drawn import JUDGED, Drawn, all_series
from hnlmrec.reporting.examples import OUTCOMES, profiles_of
from hnlmrec.reporting.inputs import ReportInputs, read_jsonl
from hnlmrec.reporting.neighbours import Nearest, relation_to
from hnlmrec.reporting.shown_text import shown

_TITLE, _TEXT = 160, 1500  # characters shown
_HISTORY, _ROWS = 60, 8  # items of a history, and drawn items of a sampler, that are shown


class UserDossiers:
    """Reads once what the run has, and describes users one by one.

    Args:
        inputs: of the report.
        drawn: what the experiments drew.
    """

    def __init__(self, inputs: ReportInputs, drawn: Sequence[Drawn]) -> None:
        self.inputs, self.dataset = inputs, inputs.dataset
        self.profiles = profiles_of(inputs.profiles, "user")
        self.facts = _facts(inputs)
        folder = inputs.hard_negatives
        rows = read_jsonl(folder / "hard_negatives.jsonl" if folder is not None else None)
        self.near = Nearest.open(inputs) if rows else None
        self.places = self.near.rows_of(rows) if self.near is not None else {}
        self.generated: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for at, row in enumerate(rows):
            self.generated[row["user_id"]].append((at, row))
        self.drawn = [(series.title, _counted(series.frame)) for series in all_series(drawn)]

    def number(self, user_id: str) -> int:
        """Return a user's number.

        Raises:
            UnknownIdError: there is no such user; names near ids.
        """
        users = self.dataset.users
        if user_id not in users:
            some = ", ".join(repr(id_) for id_ in users.all_ids[:3])
            raise UnknownIdError(
                f"there is no user {user_id!r} in this run{did_you_mean(user_id, users.all_ids)} It holds "
                f"{len(users):,} users, for example {some}."
            )
        return int(users.numbers([user_id])[0])

    def choose(self, most: int) -> list[int]:
        """Return up to that many users: those with generated negatives first, each part in the data's order."""
        with_generated = np.array([id_ in self.generated for id_ in self.dataset.users.all_ids], dtype=np.bool_)
        return [int(user) for user in np.argsort(~with_generated, kind="stable")[:most]]

    def of(self, user: int) -> dict[str, Any]:
        """Describe a user; items are numbers, which `items` explains."""
        dataset, id_ = self.dataset, self.dataset.users.all_ids[user]
        history = dataset.train.of(user).tolist()
        return {
            "id": shown(id_, _TITLE),
            "facts": shown(self.facts.get(id_, ""), _TEXT),
            "profile": shown(self.profiles.get(id_, ""), _TEXT),
            "history": history[:_HISTORY],
            "history_size": len(history),
            "held_out": [*dataset.valid.of(user).tolist(), *dataset.test.of(user).tolist()][:_HISTORY],
            "generated": [self._generated(user, at, row) for at, row in self.generated.get(id_, [])],
            "drawn": [part for part in (self._drawn(user, *series) for series in self.drawn) if part["rows"]],
        }

    def items(self, users: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return title, id and number of train users of every item that these descriptions name."""
        numbers: set[int] = set()
        for user in users:
            numbers.update(user["history"], user["held_out"])
            for row in user["generated"]:
                numbers.update(n for n in (row["positive"], row["item"]) if n is not None)
                numbers.update(near["item"] for near in row["near"])
            numbers.update(row["item"] for part in user["drawn"] for row in part["rows"])
        popularity, ids, titles = self.dataset.train.item_degrees, self.dataset.items.all_ids, self.inputs.titles
        return {
            str(n): {
                "id": shown(ids[n], _TITLE),
                "title": shown(titles[n], _TITLE),
                "popularity": int(popularity[n]),
            }
            for n in sorted(numbers)
        }

    def _generated(self, user: int, at: int, row: dict[str, Any]) -> dict[str, Any]:
        place = self.places.get(at)
        near = self.near.of(place, user) if self.near is not None and place is not None else ()
        item = self._item(row["item_id"])
        return {
            "name": shown(row["name"] or "", _TITLE),
            "reasoning": shown(row["reasoning"] or "", _TEXT),
            "positive": self._item(row["positive_id"]),
            "item": item,
            "outcome": OUTCOMES.get(row["outcome"], row["outcome"]),
            "relation": "" if item is None else relation_to(self.dataset, user, item),
            "near": [{"item": n.item, "cosine": round(n.cosine, 3), "relation": n.relation} for n in near],
        }

    def _drawn(self, user: int, title: str, frame: pl.DataFrame) -> dict[str, Any]:
        mine = frame.filter(pl.col("user") == user).sort(["times", "item"], descending=[True, False])
        rows = [
            {
                "item": row["item"],
                "times": row["times"],
                "gap": None if row["gap"] is None or not np.isfinite(row["gap"]) else round(row["gap"], 3),
                "relation": relation_to(self.dataset, user, row["item"]),
                "judged_false": row["judged_false"],
            }
            for row in mine.iter_rows(named=True)
        ]
        rows.sort(key=lambda row: not row["relation"])  # false negatives first
        return {
            "title": title,
            "draws": int(mine["times"].sum()),
            "items": len(rows),
            "held_out": sum(bool(row["relation"]) for row in rows),
            "rows": rows[:_ROWS],
        }

    def _item(self, item_id: str | None) -> int | None:
        return None if item_id is None else int(self.dataset.items.numbers([item_id])[0])


def _facts(inputs: ReportInputs) -> dict[str, str]:
    path = inputs.prepare / "users.parquet"
    if not path.exists():
        return {}
    frame = read_parquet(path, ["user_id"])
    columns = [name for name in ("facts", "profile") if name in frame.columns]
    return {
        row["user_id"]: "; ".join(str(row[name]) for name in columns if row[name])
        for row in frame.iter_rows(named=True)
    }


def _counted(frame: pl.DataFrame) -> pl.DataFrame:
    """Count how often each user got each item; `gap` is of its last draw."""
    judged = pl.col(JUDGED).any() if JUDGED in frame.columns else pl.lit(value=False)
    gap = (pl.col("positive_score") - pl.col("negative_score")).last()
    return frame.group_by("user", "item", maintain_order=True).agg(
        times=pl.len(), gap=gap, judged_false=judged.fill_null(value=False)
    )
