"""Checks the commands of a page without running them: programs, options, and settings."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer.main
from tests.documentation.blocks import ROOT

from hnlmrec.cli import app
from hnlmrec.config import apply_overrides, build
from hnlmrec.evaluation.mutual_information import InformationConfig
from hnlmrec.exporting.formats import EXPORTS
from hnlmrec.pipeline.run import STAGE_NAMES
from hnlmrec.pipeline.shipped import data_config, load_run_config, load_shipped, shipped_configs, training_config
from hnlmrec.simulation.study import SimulationConfig
from hnlmrec.studies.files import is_study, load_study

Files = dict[str, str]
"""What stands for the reader's own files: names as the pages write them, and what is there in their place."""

_ASSIGNMENT = re.compile(r"[A-Z_]+=")


def command_lines(code: str) -> list[list[str]]:
    """Return the words of each command, without comments and the variables set before it."""
    lines = code.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    for words in commands:
        while words and _ASSIGNMENT.match(words[0]):
            del words[0]
    return [words for words in commands if words]


def check_command(words: Sequence[str], files: Files) -> None:
    """Check one command.

    Raises:
        AssertionError: the program, its file, target or option is not there.
        HnlmrecError, click's UsageError: what `hnlmrec` says of wrong arguments and settings.
    """
    program, rest = words[0].removeprefix(".venv/bin/"), list(words[1:])
    if program in ("accelerate", "torchrun"):
        at = rest.index("hnlmrec")
        assert rest[at - 1] == "-m", words
        program, rest = "hnlmrec", rest[at + 1 :]
    assert program in PROGRAMS, f"{program}: the test does not know it"
    PROGRAMS[program](rest, files)


def _hnlmrec(words: list[str], files: Files) -> None:
    command, path = typer.main.get_command(app), []
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if words == ["--help"]:
        return
    context = command.make_context(" ".join(path), words)
    check = _CHECKS.get(" ".join(path))
    if check is not None:
        check(context.params, files)


def _check_run(given: dict[str, Any], files: Files) -> None:
    assert given["until"] in (None, *STAGE_NAMES)
    load_run_config(_own(given["config"], files), given["overrides"] or ())


def _check_compare(given: dict[str, Any], files: Files) -> None:
    source, *overrides = given["sources"]
    if is_study(source):
        load_study(str(_own(source, files)), overrides)


def _check_train(given: dict[str, Any], _: Files) -> None:
    training_config(given["dataset"], given["model"], given["sampler"], given["overrides"] or ())


def _check_export(given: dict[str, Any], _: Files) -> None:
    assert given["format_"] in EXPORTS


def _check_copy(given: dict[str, Any], _: Files) -> None:
    assert given["name"] in shipped_configs()


def _check_config(given: dict[str, Any], files: Files) -> None:
    load_run_config(_own(given["config"], files), given["overrides"] or ())


def _check_data(given: dict[str, Any], _: Files) -> None:
    data_config(given["source"], given["overrides"] or ())


def _check_settings(kind: Any) -> Callable[[dict[str, Any], Files], None]:
    return lambda given, _: build(kind, apply_overrides({}, given["overrides"] or ())) and None


_CHECKS: dict[str, Callable[[dict[str, Any], Files], None]] = {
    "demo": lambda given, _: load_shipped("demo", given["overrides"] or ()) and None,
    "run": _check_run,
    "train": _check_train,
    "compare": _check_compare,
    "export": _check_export,
    "information": _check_settings(InformationConfig),
    "simulate": _check_settings(SimulationConfig),
    "config copy": _check_copy,
    "config show": _check_config,
    "config validate": _check_config,
    "data prepare": _check_data,
    "data stats": _check_data,
}


def _own(name: str | Path, files: Files) -> Path:
    return Path(files.get(str(name), str(name)))


def _make(words: list[str], _: Files) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, assigned, _value = word.partition("=")
        known = rf"(?m)^{name} \?=" if assigned else rf"(?m)^{name}:"
        assert re.search(known, makefile), f"the Makefile has no {name}"


def _pip(words: list[str], _: Files) -> None:
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words[1:]:
        for extra in re.findall(r"^hnlmrec\[(.*)\]$", word):
            assert set(extra.split(",")) <= project["optional-dependencies"].keys(), word


def _python(words: list[str], _: Files) -> None:
    if words[0] == "-m":
        assert words[1] in ("pytest", "tests.golden.update"), words
        return
    source = (ROOT / words[0]).read_text(encoding="utf-8")
    for option in (word.partition("=")[0] for word in words[1:] if word.startswith("--")):
        assert f'"{option}"' in source, f"{words[0]} has no option {option}"


def _nothing(words: list[str], _: Files) -> None:
    """Other people's programs, and the shell's own words."""


PROGRAMS: dict[str, Callable[[list[str], Files], None]] = {
    "hnlmrec": _hnlmrec,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "export": _nothing,
    "pre-commit": _nothing,
}
