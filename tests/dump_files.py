"""Small files in the formats of the public dumps."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

N_USERS, N_ITEMS = 12, 8
DAY = 86400
START = 1_450_000_000


def pairs() -> list[tuple[int, int, float, int]]:
    """User, item, rating, seconds: each user has all items but one, ratings run from 1 to 5."""
    return [
        (user, item, float(1 + (user + item) % 5), START + DAY * item + user)
        for user in range(N_USERS)
        for item in range(N_ITEMS)
        if (user + item) % N_ITEMS
    ]


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    """Write a line for each object, bytes as they are; packed where the name ends in .gz."""
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def amazon_2018(folder: Path, ending: str = "json.gz") -> Path:
    """Write reviews and metadata; return the file of reviews."""
    write_lines(
        folder / f"meta_Toys.{ending}",
        (
            {
                "asin": f"B{item}",
                "title": "<script>var getTime()" if item == 7 else f"Toy &amp; game {item}",
                "brand": "LEGO",
                "category": ["Toys", "Puzzles"],
                "description": ["<b>Wooden</b> puzzle."],
                "also_buy": ["B1"],
                "rank": "1 in Toys",
            }
            for item in range(N_ITEMS + 3)
        ),
    )
    return write_lines(folder / f"Toys_5.{ending}", (_review_2018(*pair) for pair in pairs()))


def _review_2018(user: int, item: int, rating: float, seconds: int) -> dict[str, Any]:
    return {
        "reviewerID": f"A{user}",
        "asin": f"B{item}",
        "overall": rating,
        "unixReviewTime": seconds,
        "summary": "Fine.",
        "reviewText": f"Review of {item} by {user}",
        "verified": True,
    }


def amazon_2023(folder: Path) -> Path:
    """Write reviews and metadata; return the file of reviews."""
    write_lines(
        folder / "meta_Toys.jsonl",
        (
            {
                "parent_asin": f"B{item}",
                "title": f"Toy {item}",
                "categories": [],
                "main_category": "Toys",
                "store": "A store",
                "details": {"Brand": "LEGO"} if item else None,
                "description": [],
                "features": ["Small", "Red"],
                "average_rating": 4.5,
            }
            for item in range(N_ITEMS)
        ),
    )
    return write_lines(
        folder / "Toys.jsonl",
        (
            {
                "user_id": f"A{user}",
                "parent_asin": f"B{item}",
                "asin": "another",
                "rating": rating,
                "timestamp": seconds * 1000 + 7,
                "title": "Fine.",
                "text": f"Review of {item} by {user}",
            }
            for user, item, rating, seconds in pairs()
        ),
    )


def yelp(folder: Path) -> Path:
    """Write reviews, businesses, users and two files that are not read; return the folder."""
    names = {kind: folder / f"yelp_academic_dataset_{kind}.json" for kind in ("review", "business", "user", "tip")}
    write_lines(names["tip"], [{"user_id": "A0", "business_id": "B0", "text": "a tip", "date": "2018-01-01"}])
    write_lines(names["user"], [{"user_id": "A1", "yelping_since": "2012-03-04 10:00:00", "average_stars": 4.1}])
    write_lines(
        names["business"],
        (
            {
                "business_id": f"B{item}",
                "name": f"Café {item}",
                "city": "Reno",
                "categories": "Food, Bars",
                "stars": 4,
            }
            for item in range(N_ITEMS)
        ),
    )
    write_lines(
        names["review"],
        (
            {
                "review_id": "x",
                "user_id": f"A{user}",
                "business_id": f"B{item}",
                "stars": rating,
                "date": _date(seconds),
                "text": f"Review of {item} by {user}",
            }
            for user, item, rating, seconds in pairs()
        ),
    )
    return folder


def _date(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
