"""Embedding models. `MODELS` is the table to choose from; a new model is one file and one line here."""

from hnlmrec.models.base import CFModel
from hnlmrec.models.lightgcn import LightGCN
from hnlmrec.models.mf import MF
from hnlmrec.models.ngcf import NGCF
from hnlmrec.models.sgl import SGL
from hnlmrec.models.simgcl import SimGCL
from hnlmrec.models.xsimgcl import XSimGCL

MODELS: dict[str, type[CFModel]] = {
    "mf": MF,
    "lightgcn": LightGCN,
    "ngcf": NGCF,
    "sgl": SGL,
    "simgcl": SimGCL,
    "xsimgcl": XSimGCL,
}

__all__ = ["MODELS"]
