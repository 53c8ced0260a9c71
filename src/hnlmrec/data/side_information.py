"""Titles, facts and profiles of items and users, out of records whose field names differ by source.

Only the fields named here are read. What a source derives from all interactions (a mean rating, a history of
titles) is not among them, since it would carry test interactions into the texts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

TITLE_FIELDS = ("title", "name", "movie_title")
PROFILE_FIELDS = ("profile", "taste")
ITEM_FACT_FIELDS = (
    "release_year",
    "year",
    "brand",
    "city",
    "genres",
    "genre",
    "class",
    "categories",
    "category",
    "description",
    "summary",
)
USER_FACT_FIELDS = ("age", "gender", "occupation", "city", "member_since")
REVIEW_FIELDS = ("summary", "text")
_FALLBACK_FACT = "keywords"  # words cut out of the title: of use only where there is no title
DESCRIBING_FIELDS = frozenset(
    {*TITLE_FIELDS, *PROFILE_FIELDS, *ITEM_FACT_FIELDS, *USER_FACT_FIELDS, *REVIEW_FIELDS, _FALLBACK_FACT}
)
"""All that is read of items, users and reviews, beside their ids."""
_NO_FACT = {"unknown", "unkonwn", "other", "none"}
_GENDERS = {"m": "male", "f": "female"}


def items_frame(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return item_id, title ("" if missing), facts, profile (null if none): one row a record."""
    return _frame("item_id", records, lambda record: (title_of(record), item_facts(record)), ("title", "facts"))


def users_frame(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return user_id, facts, profile (null if none): one row a record."""
    return _frame("user_id", records, lambda record: (user_facts(record),), ("facts",))


def unused_fields(records: Iterable[Mapping[str, Any]], fact_fields: Iterable[str]) -> list[str]:
    """Return the fields that are not read, so that a report can name them."""
    known = {"item_id", "user_id", _FALLBACK_FACT, *TITLE_FIELDS, *PROFILE_FIELDS, *fact_fields}
    return sorted({name for record in records for name in record} - known)


def title_of(record: Mapping[str, Any]) -> str:
    """Return the item's name."""
    title = next((clean(record[name]) for name in TITLE_FIELDS if record.get(name)), "")
    return "" if title == "unkonwn" else title  # how MovieLens-100K's atomic files spell a film without a title


def item_facts(record: Mapping[str, Any]) -> str:
    """Return what is known of an item, such as "1995; Animation, Children's, Comedy"."""
    parts = [", ".join(_words(record.get(name))) for name in ITEM_FACT_FIELDS if name != "release_year"]
    year = clean(record.get("release_year"))
    words = [year if re.fullmatch(r"\d{4}", year) else "", *parts]
    if not title_of(record):
        words.append(", ".join(_words(record.get(_FALLBACK_FACT))))
    return "; ".join(word for word in words if word)


def user_facts(record: Mapping[str, Any]) -> str:
    """Return what is known of a user, such as "24 years old, male, technician"."""
    values = {name: ", ".join(_words(record.get(name))) for name in USER_FACT_FIELDS}
    if re.match(r"\d", values["age"]):
        values["age"] += " years old"
    gender = values["gender"].lower()
    values["gender"] = _GENDERS.get(gender, gender)
    return ", ".join(value for value in values.values() if value)


def profile_of(record: Mapping[str, Any]) -> str | None:
    """Return the profile that the source gives, or None."""
    sentences = [word for name in PROFILE_FIELDS for word in _flat(record.get(name))]
    return " ".join(sentences) or None


def clean(value: Any) -> str:
    """Return text without HTML entities and with single blanks."""
    text = " ".join(html.unescape(str(value)).split()) if value is not None else ""
    # JSON may hold half of a surrogate pair (\\ud800), which no file can.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def joined_review(summary: Any, text: Any) -> str:
    """Return a review's heading and text as one; "" where it has no words."""
    return ". ".join(part.rstrip(".") for value in (summary, text) if (part := clean(value)))


def _words(value: Any) -> list[str]:
    return [word for word in dict.fromkeys(_flat(value)) if word.lower() not in _NO_FACT]


def _flat(value: Any) -> list[str]:
    if isinstance(value, list):
        return [word for part in value for word in _flat(part)]
    text = clean(value)
    return [text] if text else []


def _frame(
    key: str,
    records: Iterable[Mapping[str, Any]],
    texts: Callable[[Mapping[str, Any]], tuple[str, ...]],
    names: tuple[str, ...],
) -> pl.DataFrame:
    rows = [(record[key], *texts(record), profile_of(record)) for record in records]
    return pl.DataFrame(rows, schema=dict.fromkeys((key, *names, "profile"), pl.String), orient="row")
