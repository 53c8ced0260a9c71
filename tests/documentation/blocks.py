"""The code blocks of the pages, each with the mark above it that says how it is tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN, AFTER, NOT_RUN = "run", "run after: ", "not run: "
_BLOCK = re.compile(r"(?m)^(?:<!-- ([^\n]*) -->\n)?```([a-z]*)\n(.*?)^```$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: file name of its page.
        number: its place on the page, from 1.
        language: what stands after the fence, "" for nothing.
        mark: `run` (as it is, in an empty folder), `run after: SETUP` (slow; in a folder that setups.py has
            prepared), `not run: REASON` (checked without running it), or "".
        code: its text.
    """

    page: str
    number: int
    language: str
    mark: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page}-{self.number}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks in these languages, of all pages."""
    return [block for page in PAGES for block in read_blocks(page) if block.language in languages]


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        Block(page.name, number, language, mark, code) for number, (mark, language, code) in enumerate(found, 1)
    ]
