"""What tests share: what each starts from, whatever ran before it in the same process, and a browser."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.browser import Browser, find_browser

# The workers of pytest-xdist share the cores, and threads that wait for work in a loop take them from one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of pages; what is asked of it is asked of the page opened last."""
    command = find_browser()
    if command is None:
        pytest.skip("there is no Chromium on this machine: apt install chromium")
    with Browser(command, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take back the levels that a call of the command line leaves behind."""
    loggers = [logging.getLogger(), logging.getLogger("hnlmrec")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
