"""Hard negative sampling via large language models for collaborative filtering."""

import os
from importlib.metadata import version

# OpenMP's threads, which torch uses, wait for one another by spinning. Where another program wants a core as well,
# a training step then takes several times as long; sleeping costs next to nothing where none does. OpenMP reads
# this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("hnlmrec")
