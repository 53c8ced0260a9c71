"""Every code block of the pages runs, or says why it does not and is checked as far as that goes."""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.documentation.blocks import AFTER, NOT_RUN, RUN, Block, blocks, read_blocks
from tests.documentation.commands import check_command, command_lines
from tests.documentation.setups import SETUPS, SMALLER, smaller

from hnlmrec.errors import ConfigError, UnknownChoiceError
from hnlmrec.pipeline.shipped import build_run_config, shipped_configs
from hnlmrec.studies.files import load_study

CODE = blocks("python", "bash")
AS_IT_IS = [block for block in CODE if block.mark == RUN]
PREPARED = [block for block in CODE if block.mark.startswith(AFTER)]


def named(found: list[Block]) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in found]


def test_there_are_blocks() -> None:
    assert len(AS_IT_IS) > 5
    assert {block.mark.removeprefix(AFTER) for block in PREPARED} <= SETUPS.keys()
    assert SMALLER.keys() <= {block.name for block in PREPARED}


@pytest.mark.parametrize("block", named(blocks("python", "bash", "toml", "json", "text", "bibtex", "")))
def test_every_block_says_how_it_is_tested(block: Block) -> None:
    if block.language in ("python", "bash"):
        reason = block.mark.removeprefix(NOT_RUN)
        assert block.mark == RUN or block in PREPARED or reason not in ("", block.mark)
    else:
        assert block.language in ("toml", "json", "text", "bibtex"), "a block says its language"


@pytest.mark.parametrize("block", named(AS_IT_IS))
def test_blocks_run_in_an_empty_folder(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(block.language, block.code)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder that a set-up has prepared."""

    @cache
    def prepare(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        with contextlib.chdir(folder):
            SETUPS[name]()
        return folder

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize("block", named(PREPARED))
def test_blocks_run_after_their_set_up(block: Block, prepared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(prepared(block.mark.removeprefix(AFTER)), folder, symlinks=True)
    with contextlib.chdir(folder):
        run(block.language, smaller(block.name, block.code))


def run(language: str, code: str) -> None:
    if language == "python":
        exec(compile(code, "documentation", "exec"), {"__name__": "documentation"})
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", code.replace(".venv/bin/", "")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands for the reader's own files."""
    study = tmp_path_factory.mktemp("study") / "my-study.toml"
    study.write_text(study_block().code, encoding="utf-8")
    own = dict.fromkeys(("CONFIG.toml", "my-run.toml"), "toys-hnlmrec")
    return {**own, "my-data.toml": "ml-100k", "STUDY.toml": "tiny", "my-study.toml": str(study)}


def study_block() -> Block:
    (found,) = (block for block in blocks("toml") if "study" in tomllib.loads(block.code))
    return found


@pytest.mark.parametrize("block", named(blocks("bash")))
def test_commands_options_and_settings_exist(block: Block, files: dict[str, str]) -> None:
    commands = command_lines(block.code)
    assert commands
    for words in commands:
        check_command(words, files)


WRONG_COMMANDS = [
    ("hnlmrec trian path", AssertionError),
    ("hnlmrec run CONFIG.toml training.epoch=3", ConfigError),
    ("hnlmrec run CONFIG.toml --until enocde", AssertionError),
    ("hnlmrec train path --sampler dsn", ConfigError),
    ("hnlmrec compare tiny study.seed=[1]", ConfigError),
    ("hnlmrec config copy ml-1000k here.toml", AssertionError),
    ("hnlmrec simulate world.snr=3", ConfigError),
    ("hnlmrec export runs/a --format parket", AssertionError),
    ("make demos", AssertionError),
    ("pip install 'hnlmrec[rey]'", AssertionError),
    ("python benchmarks/suite.py FOLDER --doc", AssertionError),
    ("conda install hnlmrec", AssertionError),
]


@pytest.mark.parametrize(("command", "error"), WRONG_COMMANDS)
def test_wrong_commands_are_found(command: str, error: type[Exception], files: dict[str, str]) -> None:
    (words,) = command_lines(f"KEY=x .venv/bin/{command}  # why" if command.startswith("hnl") else command)
    with pytest.raises((error, UnknownChoiceError)):
        check_command(words, files)


def test_an_option_that_is_not_there_is_found(files: dict[str, str]) -> None:
    with pytest.raises(Exception, match="--plans"):
        check_command(["hnlmrec", "run", "demo", "--plans"], files)


@pytest.mark.parametrize("block", named(blocks("toml")))
def test_settings_are_valid(block: Block, tmp_path: Path) -> None:
    values = tomllib.loads(block.code)
    if values.keys() & {"study", "search"}:  # a study, or what is added to the one on the page
        whole = {**tomllib.loads(study_block().code), **values}
        assert load(whole, tmp_path).grid.cells()
        return
    base = tomllib.loads(shipped_configs()["toys-hnlmrec"].read_text(encoding="utf-8"))
    for section, given in values.items():  # one that says its name is another choice: nothing of the old is kept
        base[section] = given if "name" in given else {**base.get(section, {}), **given}
    build_run_config(base, (), block.name)


def load(values: dict[str, Any], folder: Path) -> Any:
    import tomli_w

    (folder / "study.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    return load_study(str(folder / "study.toml"))


@pytest.mark.parametrize("block", named(blocks("json")))
def test_json_is_json(block: Block) -> None:
    assert json.loads(block.code)


@pytest.mark.parametrize("block", named([block for block in blocks("python") if block.mark != RUN]))
def test_names_and_arguments_of_code_exist(block: Block) -> None:
    check_code(block.code)


def check_code(code: str) -> None:
    """Import what code imports, and check its names and the arguments of the calls of what was imported."""
    tree = ast.parse(code)
    imported: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "documentation", "exec"), imported)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = {node.id for node in names if isinstance(node.ctx, ast.Store)} | imported.keys() | set(dir(builtins))
    assert {node.id for node in names} <= known
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        if isinstance(call.func, ast.Name) and call.func.id in imported and not starred:
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(imported[call.func.id]).bind(*call.args, **keywords)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("from hnlmrec.rng import RandomStream", ImportError),
        ("from hnlmrec.rng import RandomStreams\nRandomStreams(1, 2, 3, sed=1)", TypeError),
        ("print(reslut)", AssertionError),
    ],
)
def test_wrong_code_is_found(code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_code(code)


def test_blocks_are_read_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n\n<!-- run -->\n```python\nx = 1\n```\n\n```toml\n[a]\n```\n")
    assert read_blocks(page) == [
        Block("page.md", 1, "python", "run", "x = 1\n"),
        Block("page.md", 2, "toml", "", "[a]\n"),
    ]
