"""What the files of each public dump are called inside: Amazon Reviews 2018 and 2023, and the Yelp dataset.

Amazon Reviews 2018 and 2023: https://amazon-reviews-2023.github.io (and .../amazon_v2). Yelp: https://yelp.com/dataset.
Only what an item or user is, is read; ratings, counts and "also bought" lists are made of interactions, which may
be held out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hnlmrec.data.review_lines import ReviewFields
from hnlmrec.data.side_information import clean

LONGEST_TEXT = 2000
"""Longer descriptions and reviews of a dump are cut to so many characters."""

_TAG = re.compile(r"<[^<>]{1,500}>")
_SCRIPT = "getTime"  # some titles of Amazon 2018 hold the source of the web page instead


@dataclass(frozen=True)
class Described:
    """What a line of a file of items or users holds.

    Attributes:
        fields: that each line has, the id first.
        record: turns a line into a record of `side_information`, without the id.
    """

    fields: tuple[str, ...]
    record: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Layout:
    """One kind of dump.

    Attributes:
        description: what the reader's list says.
        reviews: the fields of a review.
        item: a line of the file of items.
        user: a line of the file of users; None where there is no such file.
    """

    description: str
    reviews: ReviewFields
    item: Described
    user: Described | None = None


def shortened(value: Any) -> str:
    """Return text without tags, entities and double blanks, cut at LONGEST_TEXT."""
    return clean(_TAG.sub(" ", str(value)[: 4 * LONGEST_TEXT]))[:LONGEST_TEXT] if value is not None else ""


def _joined(value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    return shortened(" ".join(str(part) for part in parts if part))


def _amazon_2018_item(line: Mapping[str, Any]) -> dict[str, Any]:
    title = str(line.get("title") or "")
    return {
        "title": "" if _SCRIPT in title else title,
        "brand": line.get("brand"),
        "categories": line.get("category"),
        "description": _joined(line.get("description")),
    }


def _amazon_2023_item(line: Mapping[str, Any]) -> dict[str, Any]:
    details = line.get("details")
    if isinstance(details, str):  # some copies hold the object as a string
        try:
            details = json.loads(details)
        except ValueError:
            details = None
    brand = details.get("Brand") if isinstance(details, dict) else None
    return {
        "title": line.get("title"),
        "brand": brand or line.get("store"),
        "categories": line.get("categories") or line.get("main_category"),
        "description": _joined(line.get("description")) or _joined(line.get("features")),
    }


def _yelp_item(line: Mapping[str, Any]) -> dict[str, Any]:
    categories = line.get("categories")
    if isinstance(categories, str):
        categories = categories.split(", ")
    return {"title": line.get("name"), "city": line.get("city"), "categories": categories}


def _yelp_user(line: Mapping[str, Any]) -> dict[str, Any]:
    year = str(line.get("yelping_since") or "")[:4]
    return {"member_since": f"member since {year}" if year.isdigit() else None}


LAYOUTS: dict[str, Layout] = {
    "amazon2018": Layout(
        "Amazon Reviews 2018: CATEGORY.json[.gz], a review a line (reviewerID, asin, overall, unixReviewTime), "
        "and meta_CATEGORY.json[.gz] beside it",
        ReviewFields("reviewerID", "asin", "overall", "unixReviewTime", "s", "summary", "reviewText"),
        Described(("asin",), _amazon_2018_item),
    ),
    "amazon2023": Layout(
        "Amazon Reviews 2023: CATEGORY.jsonl[.gz], a review a line (user_id, parent_asin, rating, timestamp), and "
        "meta_CATEGORY.jsonl[.gz] beside it",
        ReviewFields("user_id", "parent_asin", "rating", "timestamp", "ms", "title", "text"),
        Described(("parent_asin",), _amazon_2023_item),
    ),
    "yelp": Layout(
        "the Yelp dataset: yelp_academic_dataset_review.json[.gz], a review a line (user_id, business_id, stars, "
        "date), and ..._business.json and ..._user.json beside it",
        ReviewFields("user_id", "business_id", "stars", "date", "date", None, "text"),
        Described(("business_id", "name"), _yelp_item),
        Described(("user_id", "yelping_since"), _yelp_user),
    ),
}
"""The dumps that can be read, by the name of their format."""
