"""Grounding: which catalogue item a generated name means, and what that makes of the negative."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import MissingDependencyError
from hnlmrec.generation.catalogue import readable_title

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""texts -> float32 [n, d]"""
Outcome = Literal["catalogue", "observed", "copied_positive", "off_catalogue"]
OUTCOMES: tuple[Outcome, ...] = ("catalogue", "observed", "copied_positive", "off_catalogue")

_CHUNK = 256
_YEAR = re.compile(r"\(\s*\d{4}\s*\)")
_NOT_WORD = re.compile(r"[^\w]+")
_NUMBER = re.compile(r"\d+|\b[ivx]{1,4}\b")


@dataclass(frozen=True)
class Match:
    """The catalogue item that a name means.

    Attributes:
        item: its number, or None for a name that is not in the catalogue.
        score: 1 for the same title, else the similarity of the best one, 0 to 1, also where that was not enough.
    """

    item: int | None
    score: float


class NameMatcher:
    """Finds catalogue items by name: the same title, then similar letters, then a similar meaning.

    Titles are compared without case, accents, punctuation, moved articles and years in brackets. Where several
    items have the same title, the first is taken.

    Args:
        names: the unique name of each item, as constrained prompts show it.
        titles: the title of each item, "" for none.
        fuzzy_threshold: least token-sorted edit similarity, 0 to 1. Numbers must agree whatever the similarity, so
            that a sequel does not pass for the first part.
        cosine_threshold: least cosine of the encoded titles.
        encode: the text encoder; None to stop at similar letters.
    """

    def __init__(
        self,
        names: Sequence[str],
        titles: Sequence[str],
        *,
        fuzzy_threshold: float = 0.92,
        cosine_threshold: float = 0.75,
        encode: Encode | None = None,
    ) -> None:
        self._exact = {name: item for item, name in reversed(list(enumerate(names)))}
        self._titled = [item for item, title in enumerate(titles) if title.strip()]
        self._titles = [readable_title(titles[item]) for item in self._titled]
        self._normal = [normalized(title) for title in self._titles]
        self._by_title = dict(reversed(list(zip(self._normal, self._titled, strict=True))))
        self._fuzzy_threshold = fuzzy_threshold
        self._cosine_threshold = cosine_threshold
        self._encode = encode

    def match(self, names: Sequence[str]) -> list[Match]:
        """Return the item that each name means."""
        found: dict[str, Match] = {}
        for name in dict.fromkeys(names):
            item = self._exact.get(name, self._by_title.get(normalized(name)))
            if item is not None:
                found[name] = Match(item, 1.0)
        for step in (self._by_letters, self._by_meaning):
            open_names = [name for name in dict.fromkeys(names) if found.get(name, _NOWHERE).item is None]
            for start in range(0, len(open_names), _CHUNK):
                for name, match in zip(open_names[start:], step(open_names[start : start + _CHUNK]), strict=False):
                    found[name] = max(
                        found.get(name, _NOWHERE), match, key=lambda m: (m.item is not None, m.score)
                    )
        return [found[name] for name in names]

    def _by_letters(self, names: Sequence[str]) -> list[Match]:
        if not self._titles:
            return [_NOWHERE] * len(names)
        fuzz, process = _rapidfuzz()
        queries = [normalized(name) for name in names]
        similar = process.cdist(queries, self._normal, scorer=fuzz.token_sort_ratio, dtype=np.float32) / 100.0
        numbers = [_numbers(title) for title in self._normal]
        matches = []
        for query, row in zip(queries, similar, strict=True):
            best = int(row.argmax())
            same_numbers = _numbers(query) == numbers[best]
            good = same_numbers and row[best] >= self._fuzzy_threshold
            matches.append(Match(self._titled[best] if good else None, float(row[best])))
        return matches

    def _by_meaning(self, names: Sequence[str]) -> list[Match]:
        if self._encode is None or not self._titles:
            return [_NOWHERE] * len(names)
        cosines = _unit(self._encode([readable_title(name) for name in names])) @ self._title_vectors.T
        best = cosines.argmax(axis=1)
        return [
            Match(
                self._titled[item] if row[item] >= self._cosine_threshold else None,
                float(np.clip(row[item], 0, 1)),
            )
            for item, row in zip(best.tolist(), cosines, strict=True)
        ]

    @cached_property
    def _title_vectors(self) -> npt.NDArray[np.float32]:
        assert self._encode is not None
        return _unit(self._encode(self._titles))


def outcome_of(match: Match, user: int, positive: int | None, train: Interactions) -> Outcome:
    """Tell a usable negative from a copy of the positive, an item that the user has, and a name outside."""
    if match.item is None:
        return "off_catalogue"
    if match.item == positive:
        return "copied_positive"
    return "observed" if bool(train.contains(user, match.item)) else "catalogue"


def normalized(title: str) -> str:
    """Return the title without case, accents, punctuation, moved article and year; empty for none."""
    text = unicodedata.normalize("NFKD", readable_title(_YEAR.sub(" ", title).strip()).casefold())
    text = "".join(character for character in text if not unicodedata.combining(character))
    words = _NOT_WORD.sub(" ", text.replace("&", " and ")).strip()
    return words or title.strip().casefold()


def _numbers(title: str) -> list[str]:
    return sorted(_NUMBER.findall(title))


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast("npt.NDArray[np.float32]", vectors / np.where(lengths > 0, lengths, 1.0))


def _rapidfuzz() -> tuple[Any, Any]:
    try:
        from rapidfuzz import fuzz, process  # noqa: PLC0415 - an optional package
    except ImportError:
        raise MissingDependencyError("rapidfuzz", "text") from None
    return fuzz, process


_NOWHERE = Match(None, 0.0)
