"""What `hnlmrec recommend` is asked for, and the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.streaming import write_parquet
from hnlmrec.data.tables import read_text
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.pipeline.results import Run
from hnlmrec.serving.cold_items import cold_catalogue
from hnlmrec.serving.new_users import FoldIn
from hnlmrec.serving.ranking import (
    RANKED,
    recommend,
    recommend_all,
    recommend_judged,
    recommend_to_vector,
    similar_items,
)
from hnlmrec.serving.vectors import TrainedVectors, numbers_of, vectors_of_run

_WAYS = "--user ID, --history ITEM,ITEM,…, --history-file FILE, --similar ITEM, or --all"


@dataclass(frozen=True)
class Request:
    """Exactly one of user, history, history_file, similar and everyone is given.

    Attributes:
        user: id of a known user.
        history: ids of a new user's items, with commas between them.
        history_file: the same, an id a line.
        similar: id of the item to find similar ones of.
        everyone: recommend to all users, into the file `out`.
        out: a Parquet file.
        cold_items: JSON lines of items to recommend in place of the catalogue.
        judge: recommend what the run's judge lists, instead of what the trained model scores high.
        k: number of items.
    """

    user: str | None = None
    history: str | None = None
    history_file: Path | None = None
    similar: str | None = None
    everyone: bool = False
    out: Path | None = None
    cold_items: Path | None = None
    judge: bool = False
    k: int = 10

    def __post_init__(self) -> None:
        given = [x for x in (self.user, self.history, self.history_file, self.similar) if x is not None]
        if len(given) + self.everyone != 1:
            raise ConfigError(
                f"whom to recommend to is given {len(given) + self.everyone} times: give one of {_WAYS}."
            )
        if self.everyone != (self.out is not None):
            raise ConfigError(
                "--all writes a file, and nothing else does: give --all --out FILE.parquet together."
            )
        if self.similar is not None and self.cold_items is not None:
            raise ConfigError("--similar looks in the catalogue: give it without --cold-items.")
        if self.judge and ((self.user is None and not self.everyone) or self.cold_items is not None):
            raise ConfigError(
                "--judge gives what was judged for the run's users, of its catalogue: give it with --user ID, or "
                "with --all."
            )


def answer(run: Run, request: Request) -> dict[str, Any]:
    """Return what `--json` prints: whom it is for, and "items", best first; or for everyone, what was written.

    Raises:
        UnknownIdError: a user or an item is not in the run's data set.
        ConfigError: k is larger than the catalogue, or than the judge's lists; the run has no judge.
        DataError: a history is empty, or cold items cannot be placed.
    """
    vectors = vectors_of_run(run)
    judged = _judgements(run, vectors) if request.judge else None
    if request.similar is not None:
        return {"item": request.similar, "items": _items(similar_items(vectors, request.similar, request.k))}
    catalogue = vectors if request.cold_items is None else cold_catalogue(run, vectors, request.cold_items)
    if request.out is not None:
        frames: Iterable[pl.DataFrame]
        if judged is None:
            frames = recommend_all(catalogue, request.k)
        else:
            frames = [recommend_judged(vectors, judged, vectors.dataset.users.all_ids, request.k)]
        rows = write_parquet(frames, RANKED, request.out)
        return {"out": str(request.out), "users": vectors.dataset.n_users, "rows": rows, "k": request.k}
    if request.user is not None:
        if judged is None:
            best = recommend(catalogue, [request.user], request.k)
        else:
            best = recommend_judged(vectors, judged, [request.user], request.k)
        return {"user": request.user, "items": _items(best)}
    history = _history(request)
    return {"history": history, "items": _items(recommend_to_new_user(vectors, catalogue, history, request.k))}


def recommend_to_new_user(
    vectors: TrainedVectors, catalogue: TrainedVectors, history: Sequence[str], k: int
) -> pl.DataFrame:
    """Return the k best items of a catalogue for somebody with this history; columns as in `RANKED`.

    Args:
        vectors: what was trained; the history names its items.
        catalogue: the same, or cold items.
        history: item ids.
        k: number of items; the history is not among them.

    Raises:
        UnknownIdError: an item of the history is not in the data set.
        DataError: the history is empty.
    """
    if not history:
        raise DataError("the history of the new user is empty: give at least one item.")
    numbers = numbers_of(vectors.dataset.items, list(history))
    fold_in = FoldIn.fit(vectors.users, vectors.items, vectors.dataset.train)
    seen = numbers if catalogue is vectors else numbers[:0]
    return recommend_to_vector(catalogue, fold_in.vectors([numbers])[0], k, history=seen, name="")


def text_of(said: dict[str, Any]) -> str:
    """Return an answer as lines for a person."""
    if "out" in said:
        return f"{said['rows']:,} rows for {said['users']:,} users: {said['out']}"
    lines = [
        f"{place:>3}  {item['score']:8.4f}  {item['item_id']}  {item['title']}"
        for place, item in enumerate(said["items"], 1)
    ]
    return "\n".join(lines)


def _judgements(run: Run, vectors: TrainedVectors) -> JudgementTable:
    if "judge" not in run.stages:
        raise ConfigError(
            f"the run {run.folder} has no judge: recommend without --judge, or run it with a [judge] that "
            "something reads, such as training.recognised_share or sampler.risk_penalty."
        )
    return JudgementTable.load(run.payload("judge"), vectors.dataset)


def _history(request: Request) -> list[str]:
    if request.history_file is not None:
        ids = read_text(request.history_file).splitlines()
    else:
        ids = (request.history or "").split(",")
    return list(dict.fromkeys(id_.strip() for id_ in ids if id_.strip()))


def _items(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.select("item_id", "title", "score").to_dicts()
