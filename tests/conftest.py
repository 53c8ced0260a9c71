"""What every test starts from, whatever ran before it in the same process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take back the levels that a call of the command line leaves behind."""
    loggers = [logging.getLogger(), logging.getLogger("hnlmrec")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
