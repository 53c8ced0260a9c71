"""What the comments of the shipped configurations tell the reader to set is valid."""

from __future__ import annotations

import re

import pytest

from hnlmrec.pipeline.shipped import load_run_config, shipped_configs

_SETTING = re.compile(r"(?<![\w.])[a-z_]+(?:\.[a-z_]+)*=[^\s,;)]+")
RUNS = shipped_configs()


def settings(text: str) -> list[str]:
    comments = " ".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    found = [setting.rstrip(".") for setting in _SETTING.findall(comments)]
    return [setting for setting in found if not setting.endswith(("FOLDER", "PATH"))]


def test_there_are_some() -> None:
    assert "finetuning.encoder.n_layers=null" in settings(RUNS["toys-hnlmrec"].read_text())


@pytest.mark.parametrize("name", sorted(RUNS))
def test_settings_in_comments_are_valid(name: str) -> None:
    load_run_config(RUNS[name], settings(RUNS[name].read_text()))
