"""What is worth knowing of a prepared data set: sizes, degrees, ratings, texts, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.data.interactions import SPLITS, InteractionDataset, Numbers
from hnlmrec.data.raw import RawData


def describe(
    raw: RawData,
    dataset: InteractionDataset,
    *,
    pairs: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    reviews: pl.DataFrame | None,
) -> dict[str, Any]:
    """Return statistics as JSON values.

    Args:
        raw: the source, for what it holds beyond the data set.
        dataset: the vocabularies and splits; degrees count all splits together.
        pairs: the interactions that are left, with their ratings.
        users: texts of the users.
        items: texts of the items.
        reviews: reviews of train interactions.
    """
    total = sum(len(dataset.split(name)) for name in SPLITS)
    return {
        **dataset.counts(),
        "interactions": total,
        "density": total / (dataset.n_users * dataset.n_items),
        "user_degree": _spread(sum_over_splits(dataset, "degrees")),
        "item_degree": _spread(sum_over_splits(dataset, "item_degrees")),
        "ratings": _ratings(pairs),
        "users_without_train": int((dataset.train.degrees == 0).sum()),
        "items_without_train": int((dataset.train.item_degrees == 0).sum()),
        "users_with_test": int((dataset.test.degrees > 0).sum()),
        "described_users_without_interactions": _unused(raw, "users", users, "user_id"),
        "described_items_without_interactions": _unused(raw, "items", items, "item_id"),
        "text": {
            "items_with_title": _share(items["title"]),
            "items_with_facts": _share(items["facts"]),
            "items_with_profile": _share(items["profile"]),
            "users_with_facts": _share(users["facts"]),
            "users_with_profile": _share(users["profile"]),
            "train_reviews": 0 if reviews is None else len(reviews),
        },
        "corrupt_lines": {name: lines.as_json() for name, lines in raw.corrupt_lines.items()},
        "warnings": [*raw.warnings, *_repeated(raw), *_given_profiles(users=users, items=items)],
    }


def size_warning(expected: tuple[int, int, int], statistics: Mapping[str, Any]) -> str:
    """Return how users, items and interactions differ from what is expected; "" where they do not.

    Args:
        expected: users, items, interactions.
        statistics: what `describe` returned.
    """
    names = ("users", "items", "interactions")
    differences = [
        f"{statistics[name]:,} {name} instead of {number:,} ({statistics[name] - number:+,}, "
        f"{(statistics[name] - number) / number:+.1%})"
        for name, number in zip(names, expected, strict=True)
        if statistics[name] != number
    ]
    return f"the sizes are not those of data.expected_sizes: {'; '.join(differences)}" if differences else ""


def sum_over_splits(dataset: InteractionDataset, degrees: str) -> Numbers:
    """Return `degrees` or `item_degrees` over all splits together."""
    total: Numbers = np.sum([getattr(dataset.split(name), degrees) for name in SPLITS], axis=0)
    return total


def _spread(degrees: Numbers) -> dict[str, float]:
    return {
        "min": int(degrees.min()),
        "mean": float(degrees.mean()),
        "median": float(np.median(degrees)),
        "max": int(degrees.max()),
    }


def _ratings(pairs: pl.DataFrame) -> dict[str, int]:
    counts = pairs["rating"].drop_nulls().value_counts().sort("rating")
    return {str(rating): count for rating, count in counts.iter_rows()}


def _share(texts: pl.Series) -> float:
    return float((texts.fill_null("") != "").mean() or 0.0)  # type: ignore[arg-type]


def _unused(raw: RawData, kind: str, used: pl.DataFrame, key: str) -> int:
    described: pl.DataFrame = getattr(raw, kind)
    return len(described.unique(key).join(used, on=key, how="anti")) + raw.n_others.get(kind, 0)


def _repeated(raw: RawData) -> list[str]:
    repeated = {"user": len(raw.users) - raw.users["user_id"].n_unique()}
    repeated["item"] = len(raw.items) - raw.items["item_id"].n_unique()
    return [
        f"{count:,} {kind}s are described more than once; the first counts"
        for kind, count in repeated.items()
        if count
    ]


def _given_profiles(**texts: pl.DataFrame) -> list[str]:
    counts = {kind: len(frame) - frame["profile"].null_count() for kind, frame in texts.items()}
    return [
        f"{count:,} {kind} come with a profile from the source. The source does not say what it was written from: "
        "if valid or test interactions went into it, the results on them are too good"
        for kind, count in counts.items()
        if count
    ]
