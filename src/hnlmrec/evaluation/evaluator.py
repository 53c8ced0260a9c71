"""Full-ranking evaluation: every item of the catalogue competes, except those that the user is known to have.

Only users with a relevant item in the split are scored. Users are taken in the order of their numbers, in chunks
of a fixed size that a memory budget sets (the last is filled up), equal scores are ranked by item number, and
nothing is averaged over a chunk; so neither the budget nor the order of the users changes a result.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import field_validator
from torch import Tensor

from hnlmrec.config import Config, runtime
from hnlmrec.data.interactions import SPLITS, InteractionDataset, Interactions, Numbers, Split
from hnlmrec.errors import ConfigError, DataError, lookup
from hnlmrec.evaluation.device_top_k import select_top_there
from hnlmrec.evaluation.files import HIT_SCHEMA
from hnlmrec.evaluation.metrics import METRICS
from hnlmrec.evaluation.top_k import mark_hits, select_top

Scorer = Callable[[Numbers], Tensor]
"""Takes user numbers int64 [B], returns float32 scores [B, n_items]; -inf marks an item never to recommend."""

Mask = Literal["seen", "train"]

DEFAULT_KS = (5, 10, 20, 50)
DEFAULT_METRICS = tuple(METRICS)
_ROWS = (
    16  # chunks hold a multiple of this: matrix products of fewer rows take other, differently rounding kernels
)
_MAX_ROWS = 1024


class EvaluationConfig(Config):
    """What is measured, and on which candidates."""

    ks: tuple[int, ...] = DEFAULT_KS
    """Lengths K of the lists; none may be larger than the catalogue."""

    metrics: tuple[str, ...] = DEFAULT_METRICS
    """Names out of the table METRICS."""

    mask: Mask = "seen"
    """Items left out of the ranking: "seen" = those of all earlier splits (train for valid; train and valid for
    test), "train" = those of train alone, so that validation items stand in the way of test items. Where there
    is no validation split, as in the published protocol of LightGCN and DENS, the two are the same."""

    memory_mib: int = runtime(16, ge=1)
    """Size of the block of scores worked on at once, in MiB. Blocks of some MiB stay near the processor."""

    @field_validator("ks")
    @classmethod
    def _check_ks(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks or min(ks) < 1 or len(set(ks)) != len(ks):
            raise ValueError("give one or more different whole numbers of at least 1, for example [5, 10, 20, 50]")
        return ks

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for name in metrics:
            lookup(METRICS, name, "metric")
        if not metrics:
            raise ValueError(f"give one or more of: {', '.join(METRICS)}")
        return metrics


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What one scorer reaches on one split.

    Attributes:
        split: the split whose items are relevant.
        mask: which earlier items were left out of the ranking.
        users: int64 [U], numbers of the users with a relevant item, ascending.
        per_user: "recall@20" -> float64 [U].
        catalogue: "coverage@20" -> value, for the metrics that users have in common.
        items: int32 [U, Kmax], what was recommended, best first; -1 where a list ends early.
        relevant: bool [U, Kmax], which of these are relevant.
        n_skipped: number of users without a relevant item, who take no part.
        seconds: wall time.
    """

    split: Split
    mask: Mask
    users: Numbers
    per_user: dict[str, npt.NDArray[np.float64]]
    catalogue: dict[str, float]
    items: npt.NDArray[np.int32]
    relevant: npt.NDArray[np.bool_]
    n_skipped: int
    seconds: float

    @property
    def hits(self) -> pl.DataFrame:
        """A row for each relevant item in a list: user, item, rank (from 1); by user, then rank."""
        rows, places = np.nonzero(self.relevant)
        columns = {"user": self.users[rows], "item": self.items[rows, places], "rank": places + 1}
        return pl.DataFrame(columns, schema=HIT_SCHEMA)

    def means(self) -> dict[str, float]:
        """Return "recall@20" -> mean over the users, and the catalogue's metrics."""
        return {name: float(values.mean()) for name, values in self.per_user.items()} | self.catalogue


def dot_product_scorer(users: Tensor, items: Tensor) -> Scorer:
    """Return the scorer of user vectors [n_users, d] and item vectors [n_items, d]: their dot products."""
    users, columns = users.detach(), items.detach().T.contiguous()

    def score(numbers: Numbers) -> Tensor:
        return users[torch.from_numpy(numbers).to(users.device)] @ columns

    return score


def evaluate(
    score: Scorer,
    dataset: InteractionDataset,
    *,
    split: Split = "test",
    metrics: Sequence[str] = DEFAULT_METRICS,
    ks: Sequence[int] = DEFAULT_KS,
    mask: Mask = "seen",
    memory_mib: int = 16,
) -> EvaluationResult:
    """Rank the whole catalogue for every user with a relevant item, and measure the lists.

    Args:
        score: gives the scores of some users.
        dataset: says what is relevant (the split) and what is masked (the splits before it).
        split: "valid" or "test" ("train" measures the fit: nothing is masked then).
        metrics: names out of METRICS.
        ks: lengths of the lists.
        mask: see `EvaluationConfig.mask`.
        memory_mib: budget for a block of scores, in MiB; changes no result.

    Raises:
        ConfigError: a K is larger than the catalogue, a name is unknown, or the split is empty.
        DataError: the scorer gave the wrong shape, or a score that is not a number.
    """
    started = time.perf_counter()
    chosen = {name: lookup(METRICS, name, "metric") for name in metrics}
    _check_ks(ks, dataset.n_items)
    relevant, masked = dataset.split(split), _masked(dataset, split, mask)
    users = np.flatnonzero(relevant.degrees)
    if not len(users):
        raise ConfigError(f"the {split} split is empty: choose a split that holds interactions.")
    items, hits = _rank(score, users, (relevant, masked), max(ks), memory_mib)
    n_relevant, popularity = relevant.degrees[users], dataset.train.item_degrees
    per_user, catalogue = {}, {}
    for name, metric in chosen.items():
        for k in ks:
            if metric.per_user is not None:
                per_user[f"{name}@{k}"] = metric.per_user(hits, n_relevant, k)
            elif metric.catalogue is not None:
                catalogue[f"{name}@{k}"] = metric.catalogue(items, popularity, k)
    n_skipped, seconds = dataset.n_users - len(users), time.perf_counter() - started
    return EvaluationResult(split, mask, users, per_user, catalogue, items, hits, n_skipped, seconds)


def _check_ks(ks: Sequence[int], n_items: int) -> None:
    if not ks or min(ks) < 1:
        raise ConfigError(f"K was given as {list(ks)}: give one or more whole numbers of at least 1.")
    if max(ks) > n_items:
        raise ConfigError(
            f"K = {max(ks)} is larger than the catalogue of {n_items} items: "
            f"set evaluation.ks to numbers from 1 to {n_items}."
        )


def _masked(dataset: InteractionDataset, split: Split, mask: Mask) -> Interactions:
    earlier = [dataset.split(name) for name in SPLITS[: SPLITS.index(split)]]
    parts = [part for part in (earlier[:1] if mask == "train" else earlier) if len(part)]
    if len(parts) == 1:
        return parts[0]
    users = np.concatenate([np.empty(0, np.int32), *(part.users for part in parts)])
    items = np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)])
    return Interactions.from_pairs(users, items, dataset.n_users, dataset.n_items)


def _rank(
    score: Scorer, users: Numbers, splits: tuple[Interactions, Interactions], k: int, memory_mib: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return the best k items of each user, int32 [U, k], and which are relevant; splits = (relevant, masked)."""
    n_items = splits[0].n_items
    rows = min(max(memory_mib * 2**20 // (4 * n_items) // _ROWS, 1) * _ROWS, _MAX_ROWS)
    lists = _Lists(users, *splits, k)
    n_threads = torch.get_num_threads()
    with ThreadPoolExecutor(n_threads) as pool, torch.inference_mode():
        for start in range(0, len(users), rows):
            chunk = users[start : start + rows]
            scores = _scores(score, chunk, rows, n_items)
            if scores.is_cuda:
                lists.fill_there(start, scores)
                continue
            block = np.ascontiguousarray(scores.to("cpu", torch.float32).numpy())
            bounds = np.linspace(0, len(chunk), n_threads + 1).astype(int)
            parts = [(start + a, block[a:b]) for a, b in itertools.pairwise(bounds) if a < b]
            list(pool.map(lists.fill, *zip(*parts, strict=True)))  # list() raises what a thread has raised
    return lists.items, lists.hits


class _Lists:
    """The lists of all users, filled part by part from several threads."""

    def __init__(self, users: Numbers, relevant: Interactions, masked: Interactions, k: int) -> None:
        self.users, self.relevant, self.masked = users, relevant, masked
        self.items = np.empty((len(users), k), dtype=np.int32)
        self.hits = np.empty((len(users), k), dtype=np.bool_)

    def fill(self, start: int, scores: npt.NDArray[Any]) -> None:
        """Rank the users from place `start` on, whose scores these are."""
        part = slice(start, start + len(scores))
        users = self.users[part]
        bad = select_top(scores, users, self.masked.indptr, self.masked.indices, self.items[part])
        if bad >= 0:
            raise _not_a_number(users[bad])
        self._mark(part)

    def fill_there(self, start: int, scores: Tensor) -> None:
        """Do so on the device of the scores."""
        part = slice(start, start + len(scores))
        users = self.users[part]
        bad = scores.isnan().any(dim=1).nonzero()
        if len(bad):
            raise _not_a_number(users[int(bad[0])])
        rows, items = (torch.from_numpy(cells).to(scores.device) for cells in self.masked.cells(users))
        self.items[part] = select_top_there(scores, (rows, items), self.items.shape[1]).cpu().numpy()
        self._mark(part)

    def _mark(self, part: slice) -> None:
        mark_hits(self.items[part], self.users[part], self.relevant.indptr, self.relevant.indices, self.hits[part])


def _not_a_number(user: int) -> DataError:
    return DataError(f"the scores of user number {user} hold a value that is not a number (NaN).")


def _scores(score: Scorer, users: Numbers, rows: int, n_items: int) -> Tensor:
    filled = np.concatenate([users, np.full(rows - len(users), users[-1])]) if len(users) < rows else users
    scores = score(filled)
    if tuple(scores.shape) != (rows, n_items):
        raise DataError(f"the scorer gave shape {tuple(scores.shape)} for {rows} users and {n_items} items.")
    return scores[: len(users)]
