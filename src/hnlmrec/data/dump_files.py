"""Finds the files of a dump, by what their lines hold rather than by their names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.dump_layouts import Described, Layout
from hnlmrec.data.lines import batches
from hnlmrec.data.review_lines import CorruptLineError, read_object
from hnlmrec.data.tables import reading
from hnlmrec.errors import DataError

_ENDINGS = (".json", ".jsonl", ".ndjson")
_AMAZON_ITEMS = "meta_"
_SAMPLE = 2**18
_SAMPLED_LINES = 1000


@dataclass(frozen=True)
class DumpFiles:
    """The files of one dump.

    Attributes:
        reviews: a review a line.
        items: an item a line, or None.
        users: a user a line, or None.
    """

    reviews: Path
    items: Path | None
    users: Path | None

    def all(self) -> list[Path]:
        """Return those that are there."""
        return [path for path in (self.reviews, self.items, self.users) if path is not None]


def find_dump(path: Path, layout: Layout) -> DumpFiles | None:
    """Return a dump's files: those of a folder, or a file of reviews and what lies beside it; None for no dump.

    Raises:
        DataError: the folder has several files of reviews, or the file of reviews several of items.
    """
    with reading(path):
        beside = [file for file in sorted((path if path.is_dir() else path.parent).iterdir()) if _may_be_one(file)]
        reviews = [path] if path.is_file() and _may_be_one(path) else beside if path.is_dir() else []
        reviews = [file for file in reviews if _holds_reviews(file, layout)]
        if len(reviews) > 1:
            raise DataError(
                f"{path} has {len(reviews)} files of reviews: {_names(reviews)}. Give one of them, not the folder."
            )
        if not reviews:
            return None
        others = [file for file in beside if not _holds_reviews(file, layout)]
        items = _companion(reviews[0], [file for file in others if _describes(file, layout.item)])
        users = [file for file in others if file != items and _describes(file, layout.user)]
        return DumpFiles(reviews[0], items, _companion(reviews[0], users))


def _may_be_one(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(_ENDINGS) and path.is_file()


def _holds_reviews(path: Path, layout: Layout) -> bool:
    fields = layout.reviews
    return _has_lines_with(path, {fields.user, fields.item, fields.rating, fields.time})


def _describes(path: Path, described: Described | None) -> bool:
    return described is not None and _has_lines_with(path, set(described.fields))


def _companion(reviews: Path, files: list[Path]) -> Path | None:
    """Return the file that goes with the reviews: the one of the same category, or the only one."""
    named = [file for file in files if _category(file) == _category(reviews)]
    if len(named) > 1:
        raise DataError(
            f"{reviews.parent} has {len(named)} files that go with {reviews.name}: {_names(named)}. Keep one."
        )
    if named:
        return named[0]
    of_no_category = [file for file in files if not file.name.startswith(_AMAZON_ITEMS)]
    return of_no_category[0] if len(of_no_category) == 1 else None


def _category(path: Path) -> str:
    """Return "Toys_and_Games" of "meta_Toys_and_Games.json.gz" and of "Toys_and_Games_5.json"."""
    return path.name.split(".", 1)[0].removeprefix(_AMAZON_ITEMS).removesuffix("_5")


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _has_lines_with(path: Path, fields: set[str]) -> bool:
    status = path.stat()
    return any(fields <= keys for keys in _first_keys(path, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _first_keys(path: Path, size: int, changed: int) -> frozenset[frozenset[str]]:
    """Return the keys of the objects in the first lines; size and time of change are there for the cache."""
    del size, changed
    found = set()
    lines = (line for batch in batches(path, CorruptLines(), size=_SAMPLE) for line in batch.lines)
    for line in islice(lines, _SAMPLED_LINES):
        with contextlib.suppress(CorruptLineError):
            found.add(frozenset(read_object(line)))
    return frozenset(found)
