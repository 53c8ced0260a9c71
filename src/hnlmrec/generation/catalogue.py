"""What the prompts may know: the texts of users and items, and the train interactions; nothing held out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.llm.prompts import clean

_MOVED_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An)$")


@dataclass(frozen=True, eq=False)
class TextCatalogue:
    """The text side of a prepared data set.

    Attributes:
        user_ids: by user number.
        user_facts: side information of each user, "" for none.
        user_profiles: the source's own profile of each user, None for none.
        item_ids: by item number.
        item_titles: as the source has them, "" for none.
        item_facts: category, year, description, …; "" for none.
        item_profiles: the source's own profile of each item, None for none.
        train: the train split, the only interactions that are kept here.
        reviews: the text of train pairs, by (user number, item number).
    """

    user_ids: Sequence[str]
    user_facts: Sequence[str]
    user_profiles: Sequence[str | None]
    item_ids: Sequence[str]
    item_titles: Sequence[str]
    item_facts: Sequence[str]
    item_profiles: Sequence[str | None]
    train: Interactions
    reviews: dict[tuple[int, int], str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> TextCatalogue:
        """Read a prepared data set; reviews of pairs outside train are left out."""
        dataset = InteractionDataset.load(folder)
        users = pl.read_parquet(folder / "users.parquet")
        items = pl.read_parquet(folder / "items.parquet")
        return cls(
            user_ids=dataset.users.all_ids,
            user_facts=_texts(users, "facts"),
            user_profiles=_optional_texts(users, "profile"),
            item_ids=dataset.items.all_ids,
            item_titles=_texts(items, "title"),
            item_facts=_texts(items, "facts"),
            item_profiles=_optional_texts(items, "profile"),
            train=dataset.train,
            reviews=_train_reviews(folder / "reviews.parquet", dataset),
        )

    @cached_property
    def names(self) -> list[str]:
        """A readable name of each item, different from all others."""
        return unique_names(self.item_titles, self.item_ids)

    @cached_property
    def item_reviews(self) -> dict[int, list[str]]:
        """The review texts of each item that has any, in the order of the users."""
        reviews: dict[int, list[str]] = {}
        for (_, item), text in sorted(self.reviews.items()):
            reviews.setdefault(item, []).append(text)
        return reviews


def unique_names(titles: Iterable[str], ids: Iterable[str]) -> list[str]:
    """Return the titles, safe for prompts; a missing one is named by its id, and one of several gets its id."""
    pairs = list(zip((str(clean(readable_title(title))) for title in titles), ids, strict=True))
    counts: dict[str, int] = {}
    for title, _ in pairs:
        counts[title.casefold()] = counts.get(title.casefold(), 0) + 1
    return [
        title if title and counts[title.casefold()] == 1 else f"{title} (no. {clean(id_)})".strip()
        for title, id_ in pairs
    ]


def readable_title(title: str) -> str:
    """Put a moved article back: "White Balloon, The" becomes "The White Balloon"."""
    moved = _MOVED_ARTICLE.match(title.strip())
    return f"{moved['article']} {moved['rest']}" if moved else title


def _texts(frame: pl.DataFrame, column: str) -> list[str]:
    return [text or "" for text in _optional_texts(frame, column)]


def _optional_texts(frame: pl.DataFrame, column: str) -> list[str | None]:
    return frame[column].to_list() if column in frame.columns else [None] * len(frame)


def _train_reviews(path: Path, dataset: InteractionDataset) -> dict[tuple[int, int], str]:
    if not path.exists():
        return {}
    frame = pl.read_parquet(path)
    users = dataset.users.numbers(frame["user_id"].to_list())
    items = dataset.items.numbers(frame["item_id"].to_list())
    in_train = dataset.train.contains(users, items)
    rows = zip(users.tolist(), items.tolist(), frame["text"].to_list(), in_train.tolist(), strict=True)
    return {(user, item): text for user, item, text, kept in rows if kept and text}
