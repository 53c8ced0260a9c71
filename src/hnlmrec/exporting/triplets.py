"""Negatives for other trainers: PyTorch, RecBole, sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.interactions import SPLITS, InteractionDataset
from hnlmrec.data.streaming import json_line, replacing, write_lines, write_parquet
from hnlmrec.errors import DataError
from hnlmrec.exporting.negatives import NEGATIVES, negative_frames
from hnlmrec.pipeline.results import Run
from hnlmrec.pipeline.text_stages import item_or_user_texts, require_texts
from hnlmrec.serving.run_config import config_of

_HISTORY = 10  # titles of a user who has no text of their own
_PAIRS = 65_536  # pairs of a split written at once


def export_negatives(run: Run, out: Path) -> dict[str, Any]:
    """Write negatives.parquet: user_id, item_id (the negative), positive_id, source."""
    return {"rows": write_parquet(negative_frames(run), NEGATIVES, out / "negatives.parquet")}


def export_torch(run: Run, out: Path) -> dict[str, Any]:
    """Write what `hnlmrec.exporting.torch_dataset.NegativesDataset` reads: negatives, and the ids in row order."""
    dataset = InteractionDataset.load(run.payload("prepare"))
    counts = export_negatives(run, out)
    for ids in (dataset.users, dataset.items):
        with replacing(out / f"{ids.kind}s.parquet") as path:
            pl.DataFrame({f"{ids.kind}_id": list(ids.all_ids)}).write_parquet(path)
    return {**counts, "users": dataset.n_users, "items": dataset.n_items}


def export_recbole(run: Run, out: Path) -> dict[str, Any]:
    """Write RecBole's atomic files of the three splits and of the items, and the settings to read them with.

    The train file has a row for each negative of a pair, in the field `neg_item_id`, which RecBole's pairwise
    models read where they are told to draw none themselves (`train_neg_sample_args` empty); `alias_of_item_id`
    gives its ids the numbers of the items. In the other splits, where nobody reads it, it repeats the item.

    Raises:
        DataError: an id holds a tab or a line break, which the format cannot hold.
    """
    dataset, name = InteractionDataset.load(run.payload("prepare")), str(run.result["name"])
    for ids in (dataset.users, dataset.items):
        bad = next((id_ for id_ in ids.all_ids if set(id_) & set("\t\r\n")), None)
        if bad is not None:
            raise DataError(
                f"the {ids.kind} id {bad!r} holds a tab or a line break, which RecBole's files cannot."
            )
    header = pl.DataFrame({name: [name] for name in ("user_id:token", "item_id:token", "neg_item_id:token")})
    counts: dict[str, Any] = {}
    for split in SPLITS:
        rows = negative_frames(run) if split == "train" else _pairs(dataset, split)
        frames = (frame.select("user_id", positive="positive_id", negative="item_id") for frame in rows)
        counts[split] = write_lines(_after(header, frames), out / name / f"{name}.{split}.inter", "\t".join) - 1
    titles = pl.read_parquet(run.payload("prepare") / "items.parquet").select(
        "item_id", pl.col("title").fill_null("").str.replace_all(r"\s+", " ")
    )
    header = pl.DataFrame({"item_id": ["item_id:token"], "title": ["title:token_seq"]})
    counts["items"] = write_lines([header, titles], out / name / f"{name}.item", "\t".join) - 1
    with replacing(out / f"{name}.yaml") as path:
        path.write_text(_RECBOLE.format(name=name), encoding="utf-8")
    return counts


_RECBOLE = """# RecBole's settings for these files; give it the folder that holds this file as data_path.
dataset: {name}
benchmark_filename: [train, valid, test]
load_col:
  inter: [user_id, item_id, neg_item_id]
  item: [item_id, title]
alias_of_item_id: [neg_item_id]
train_neg_sample_args: ~
"""


def export_sentence_transformers(run: Run, out: Path) -> dict[str, Any]:
    """Write triplets.jsonl: anchor (the user in words), positive and negative (items in words), a row a negative.

    The anchor is the user's text (profile), or where there is none the titles of up to 10 other train items.
    Triplets in which a text is missing are left out and counted.

    Raises:
        DataError: the data set has no texts.
    """
    texts = _Texts.open(run)
    n_rows = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal n_rows
        for frame in negative_frames(run):
            n_rows += len(frame)
            yield texts.triplets(frame)

    written = write_lines(frames(), out / "triplets.jsonl", json_line(("anchor", "positive", "negative")))
    return {"rows": written, "without_text": n_rows - written}


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts of users and items by id, and the train items of each user."""

    users: dict[str, str]
    items: dict[str, str]
    titles: dict[str, str]
    dataset: InteractionDataset

    @classmethod
    def open(cls, run: Run) -> _Texts:
        prepared = run.payload("prepare")
        require_texts(prepared)
        inputs = {"prepare": prepared}
        if "profiles" in run.stages:
            inputs["profiles"] = run.payload("profiles")
        encoder = config_of(run).encoder
        users, items = (dict(zip(*item_or_user_texts(inputs, k, encoder), strict=True)) for k in ("user", "item"))
        titles = pl.read_parquet(prepared / "items.parquet", columns=["item_id", "title"])
        return cls(users, items, dict(titles.iter_rows()), InteractionDataset.load(prepared))

    def triplets(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return anchor, positive and negative of the rows of which all three are known."""
        rows = [
            (self.anchor(user, positive), self.items[positive], self.items[item])
            for user, item, positive, _ in frame.iter_rows()
        ]
        names = dict.fromkeys(("anchor", "positive", "negative"), pl.String)
        return pl.DataFrame([row for row in rows if all(row)], schema=names, orient="row")

    def anchor(self, user: str, positive: str) -> str:
        """Return a user in words; the positive is not among them."""
        if self.users[user]:
            return self.users[user]
        numbers = self.dataset.train.of(int(self.dataset.users.numbers([user])[0]))
        others = [id_ for id_ in self.dataset.items.ids(numbers.tolist()) if id_ != positive]
        return "; ".join([title for id_ in others if (title := self.titles.get(id_))][:_HISTORY])


def _pairs(dataset: InteractionDataset, split: Any) -> Iterator[pl.DataFrame]:
    pairs = dataset.split(split)
    for start in range(0, len(pairs), _PAIRS):
        part = slice(start, start + _PAIRS)
        items = dataset.items.ids(pairs.indices[part].tolist())
        users = dataset.users.ids(pairs.users[part].tolist())
        yield pl.DataFrame({"user_id": users, "item_id": items, "positive_id": items})


def _after(first: pl.DataFrame, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    yield first
    yield from frames
