"""The configuration that a finished run was made with."""

from __future__ import annotations

from hnlmrec.config import build
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.results import Run


def config_of(run: Run) -> RunConfig:
    """Return a run's configuration.

    Raises:
        ConfigError: it was written by another version of this package, whose settings differ.
    """
    return build(RunConfig, run.result["config"], where=f"the configuration of the run {run.folder}")
