"""What makes a text of a reply unusable."""

from __future__ import annotations

import re

from hnlmrec.errors import ReplyError

_NOTHING = frozenset({"", "none", "null", "n/a", "na", "unknown", "undefined", "...", "…", "string"})
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)")
_LOOP_WORDS = 4
_LOOP_SHARE = 0.6


def checked_text(value: str, field: str, *, limit: int) -> str:
    """Return the text trimmed, and without its last sentence where the length limit cut that off.

    Raises:
        ReplyError: nothing is said, or the text is too long without a whole sentence, or it repeats itself.
    """
    text = " ".join(value.split())
    if text.strip(" .").casefold() in _NOTHING or not any(character.isalnum() for character in text):
        raise ReplyError(f"{field!r} says nothing ({text[:20]!r}).")
    if len(value) >= limit:
        text = _whole_sentences(text[:limit], field, limit)
    if _repeats(text):
        raise ReplyError(f"{field!r} repeats itself.")
    return text


def _whole_sentences(text: str, field: str, limit: int) -> str:
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends:
        raise ReplyError(f"{field!r} does not come to an end within {limit} characters.")
    return text[: ends[-1]].removesuffix(";")


def _repeats(text: str) -> bool:
    words = re.findall(r"\w+", text.casefold())
    runs = [tuple(words[i : i + _LOOP_WORDS]) for i in range(len(words) - _LOOP_WORDS + 1)]
    return len(runs) > _LOOP_WORDS and len(set(runs)) < _LOOP_SHARE * len(runs)
