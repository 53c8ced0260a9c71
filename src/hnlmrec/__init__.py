"""Hard negative sampling via large language models for collaborative filtering."""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hnlmrec.recommender import Recommender

__all__ = ["Recommender", "__version__"]

# OpenMP's threads, which torch uses, wait for one another by spinning. Where another program wants a core as well,
# a training step then takes several times as long; sleeping costs next to nothing where none does. OpenMP reads
# this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("hnlmrec")


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: `import hnlmrec` stays free of torch.
    if name == "Recommender":
        return import_module("hnlmrec.recommender").Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
