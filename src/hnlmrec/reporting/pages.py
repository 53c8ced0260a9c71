"""HTML pages from templates: every value is escaped, and a file is replaced at once, never half."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from hnlmrec.reporting.comparisons import format_p
from hnlmrec.reporting.shown_text import shown
from hnlmrec.reporting.tables import metric_title

_NAME, _TEXT = 160, 600  # characters shown


def write_page(template: str, content: Mapping[str, Any], out: Path) -> Path:
    """Render a template of this package with our style, and return the path of the page."""
    html = _environment().get_template(template).render({**content, "style": page_file("style.css")})
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(out)
    return out


def page_file(name: str) -> str:
    """Return a file that pages are made with, as it is."""
    return resources.files("hnlmrec.reporting").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hnlmrec.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["title"] = metric_title
    environment.filters["p"] = format_p
    environment.filters["name"] = lambda text: shown(text, _NAME)
    environment.filters["text"] = lambda text: shown(text, _TEXT)
    environment.filters["share"] = lambda part, whole: f"{100 * part / whole:.2f} % ({part:,})" if whole else "–"
    return environment
