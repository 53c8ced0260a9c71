"""Hard negative sampling via large language models for collaborative filtering."""

from importlib.metadata import version

__version__ = version("hnlmrec")
