"""Negative samplers, one file each, and the one table that selects them by name."""

from __future__ import annotations

from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig
from hnlmrec.negative_sampling.uniform import UniformSampler

SAMPLERS: dict[str, type[NegativeSampler]] = {"uniform": UniformSampler}

__all__ = ["SAMPLERS", "NegativeSampler", "Negatives", "SamplerConfig"]
