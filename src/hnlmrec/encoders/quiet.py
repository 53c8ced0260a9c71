"""Keeps the noise of model loading off the terminal, and off stdout above all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the bars and hints of transformers within the block; what is printed goes to stderr.

    The stdout of the command line holds one JSON object and nothing else. The settings of transformers are the
    process's own, so they are put back.
    """
    from transformers.utils import logging  # noqa: PLC0415 - only where the extra [text] is installed

    gguf: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    gguf_bar = gguf.tqdm  # this one asks nobody whether bars are wanted
    gguf.tqdm = partial(gguf_bar, disable=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        gguf.tqdm = gguf_bar
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
