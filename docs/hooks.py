"""Fills the generated parts of the pages when the site is built, from the code itself, so that they cannot rot.

A page says `<!-- generated: NAME -->`; NAME is a key of `GENERATED`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer.main
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hnlmrec.assets import ASSETS
from hnlmrec.cli import app
from hnlmrec.config import Config, field_docstrings
from hnlmrec.data.readers import READERS
from hnlmrec.models import MODELS
from hnlmrec.models.enhancements import ENHANCEMENTS
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.pipeline.config import RunConfig

_MARKER = re.compile(r"<!-- generated: ([a-z_]+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page (called by mkdocs)."""
    return _MARKER.sub(lambda match: GENERATED[match[1]](), markdown)


def commands() -> str:
    """Every command of the command line: usage, purpose, arguments and options."""
    return "\n\n".join(_commands(typer.main.get_command(app), "hnlmrec"))


def _commands(command: Any, path: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from _commands(child, f"{path} {name}")
        return
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    names = [p.opts[0] if p.param_type_name == "option" else p.metavar or p.name.upper() for p in shown]
    words = [
        f"[{name}]" if name.startswith("-") and not p.required else name
        for name, p in zip(names, shown, strict=True)
    ]
    rows = [
        (", ".join(p.opts) if name.startswith("-") else name, p.help or "")
        for name, p in zip(names, shown, strict=True)
    ]
    usage = f"{path} {' '.join(words)}"
    yield f"### `{path}`\n\n{inspect.cleandoc(command.help or '')}\n\n```text\n{usage}\n```\n\n" + _table(
        ("", ""), [(f"`{name}`", text) for name, text in rows]
    )


def configuration() -> str:
    """Every section and field of a run's configuration, with its default and meaning."""
    return "\n\n".join(_sections(RunConfig, ""))


def _sections(kind: Any, prefix: str) -> Iterator[str]:
    rows, nested = [], []
    meanings = field_docstrings(kind)
    for name, field in kind.model_fields.items():
        meaning = meanings.get(name, "")
        choices = [part for part in _classes(field.annotation) if issubclass(part, Config)]
        if choices and field.annotation in choices:
            nested.append((f"{prefix}{name}", choices[0]))
        elif len(choices) > 1:
            rows.append((f"`{prefix}{name}`", "", f"{meaning} See the tables of choices below.".strip()))
        else:
            rows.append((f"`{prefix}{name}`", _default(field), _one_line(meaning)))
    title = prefix.rstrip(".") or "top level"
    yield f"### {title}\n\n{_one_line(inspect.getdoc(kind))}\n\n" + _table(("key", "default", "meaning"), rows)
    for name, section in nested:
        yield from _sections(section, f"{name}.")


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in _classes(argument)]


def models() -> str:
    """The table MODELS."""
    return _choices(MODELS)


def samplers() -> str:
    """The table SAMPLERS."""
    return _choices(SAMPLERS)


def enhancements() -> str:
    """The table ENHANCEMENTS."""
    return _choices(ENHANCEMENTS)


def recommenders() -> str:
    """The table RECOMMENDERS."""
    return _choices(RECOMMENDERS)


def _choices(table: Any) -> str:
    rows = []
    for name, kind in table.items():
        module = inspect.getmodule(kind)
        assert module is not None
        own = ", ".join(
            f"`{field}` = {_default(info)}" for field, info in kind.Config.model_fields.items() if field != "name"
        )
        rows.append((f"`{name}`", _one_line(inspect.getdoc(module)), own))
    return _table(("name", "what it is", "settings and defaults"), rows)


def readers() -> str:
    """The table READERS."""
    return _table(("name", "what is read"), [(f"`{name}`", r.description) for name, r in READERS.items()])


def assets() -> str:
    """The table ASSETS."""
    return _table(("name", "what it is"), [(f"`{name}`", asset.title) for name, asset in ASSETS.items()])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    return "required" if value is PydanticUndefined else f"`{value!r}`"


def _one_line(text: str | None) -> str:
    """Return the first paragraph on one line."""
    return " ".join((text or "").split("\n\n")[0].split()).replace("|", "\\|")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


GENERATED: dict[str, Callable[[], str]] = {
    "assets": assets,
    "commands": commands,
    "configuration": configuration,
    "enhancements": enhancements,
    "models": models,
    "readers": readers,
    "recommenders": recommenders,
    "samplers": samplers,
}
