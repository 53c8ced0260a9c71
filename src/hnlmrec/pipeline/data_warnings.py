"""Says aloud what a person should know of the data of a run, since nobody reads an artefact."""

from __future__ import annotations

import logging

from hnlmrec.data.preparation import PreparationConfig
from hnlmrec.data.statistics import size_warning
from hnlmrec.data.tables import read_json
from hnlmrec.pipeline.graph import NodeResult

log = logging.getLogger(__name__)


def warn_of_data(prepared: NodeResult, config: PreparationConfig, *, repeat: bool = False) -> None:
    """Log the warnings of a data set, and how its size differs from the one that is expected.

    Args:
        prepared: the node of the prepare stage.
        config: has the expected sizes.
        repeat: log the warnings of the source again where the data had been prepared before.
    """
    statistics = read_json(prepared.path / "statistics.json")
    found = list(statistics["warnings"]) if repeat or not prepared.reused else []
    if config.expected_sizes is not None:
        found.append(size_warning(config.expected_sizes, statistics))
    for warning in filter(None, found):
        log.warning("%s: %s", config.source, warning)
