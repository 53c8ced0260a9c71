"""How a text that others wrote is shown: on one line, in its length, without what cannot be shown."""

from __future__ import annotations

import unicodedata


def shown(text: str, most: int) -> str:
    """Return a text on one line, without control characters and lone surrogates, at most that many characters."""
    cut = text[: most + 1]
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in cut)
    plain = " ".join(plain.split())
    return plain if len(text) <= most else plain[: most - 1].rstrip() + "…"
