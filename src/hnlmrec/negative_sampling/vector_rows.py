"""Rows of a memory-mapped table of vectors, gathered on the device of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class VectorRows:
    """Gathers rows as float32. On a CPU it reads the mapped file; another device gets a copy of the table, once.

    Not a module: the vectors are read from their file again when a run resumes, so no checkpoint holds them.

    Args:
        vectors: [n, d], float16 or float32.
    """

    def __init__(self, vectors: npt.NDArray[np.floating[Any]]) -> None:
        self.vectors = vectors
        self._copy: Tensor | None = None

    def gather(self, rows: Tensor) -> Tensor:
        """Return the vectors of these rows: int64 [...] -> float32 [..., d] on the same device; zeros for -1."""
        if not len(self.vectors):
            return torch.zeros((*rows.shape, self.vectors.shape[1]), device=rows.device)
        inside = rows.clamp(min=0)
        if rows.device.type == "cpu":
            vectors = torch.from_numpy(self.vectors[inside.numpy()].astype(np.float32))
        else:
            if self._copy is None or self._copy.device != rows.device:
                self._copy = torch.from_numpy(np.array(self.vectors)).to(rows.device)
            vectors = self._copy[inside].float()
        return vectors * (rows >= 0)[..., None]
