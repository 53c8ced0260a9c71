"""Writes the file tree of README.md, a line a file, from what each file says of itself.

Run by `make readme`; a test compares. A Python file is described by the first sentence of its docstring, a
configuration by its first comment.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=<!-- tree -->\n```text\n).*?(?=```)", re.DOTALL)
WIDTH = 115
_OTHERS = {".md": "Prompt, and the form of its reply", ".j2": "Template of a page", ".css": "Style of the report"}


def tree() -> str:
    """Return the text of the block."""
    return "\n".join(_lines(ROOT / "src/hnlmrec", "src/hnlmrec/", "")) + "\n"


def _lines(folder: Path, name: str, indent: str) -> Iterator[str]:
    yield _line(f"{indent}{name}", describe(folder / "__init__.py") if (folder / "__init__.py").exists() else "")
    entries = sorted((path for path in folder.iterdir() if not _hidden(path)), key=lambda p: (p.is_file(), p.name))
    for path in entries:
        if path.is_dir():
            yield from _lines(path, f"{path.name}/", indent + "  ")
        elif path.name != "__init__.py":
            yield _line(f"{indent}  {path.name}", describe(path))


def _hidden(path: Path) -> bool:
    return (
        path.name in ("__pycache__", "py.typed")
        or path.name.startswith((".", "#"))
        or path.suffix in (".nbi", ".nbc")
    )


def _line(name: str, meaning: str) -> str:
    line = f"{name:<36} {meaning}".rstrip()
    if len(line) <= WIDTH:
        return line
    phrases = [place for place in re.finditer(r"[,:;] ", line[:WIDTH]) if place.start() > 37]
    return line[: phrases[-1].start()] if phrases else line[:WIDTH].rsplit(" ", 1)[0] + " …"


def describe(path: Path) -> str:
    """Return what a file says of itself, on one line; "" where it says nothing."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        sentence = re.split(r"(?<=\.)\s|\n\n", ast.get_docstring(ast.parse(text)) or "")[0]
        return " ".join(sentence.split()).rstrip(".")
    if path.suffix in _OTHERS:
        return _OTHERS[path.suffix]
    comment = re.match(r"\s*(?:\{#|<!--|/\*|#)\s*(.*?)\s*(?:#\}|-->|\*/|\n|\Z)", text, re.DOTALL)
    return " ".join(comment[1].split()).rstrip(".") if comment else ""


if __name__ == "__main__":
    README.write_text(BLOCK.sub(lambda _: tree(), README.read_text(encoding="utf-8"), count=1), encoding="utf-8")
