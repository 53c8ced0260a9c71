"""Negative samplers, one file each, and the one table that selects them by name."""

from __future__ import annotations

from hnlmrec.errors import lookup
from hnlmrec.negative_sampling.adasir import AdaSIRSampler
from hnlmrec.negative_sampling.ahns import AHNSSampler
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig, SamplerResources
from hnlmrec.negative_sampling.dens import DENSSampler
from hnlmrec.negative_sampling.dns import DNSSampler
from hnlmrec.negative_sampling.dns_mn import DNSMNSampler
from hnlmrec.negative_sampling.file import FileSampler
from hnlmrec.negative_sampling.hnlmrec import HNLMRecSampler
from hnlmrec.negative_sampling.in_batch import InBatchSampler
from hnlmrec.negative_sampling.llmhni import LLMHNISampler
from hnlmrec.negative_sampling.mixgcf import MixGCFSampler
from hnlmrec.negative_sampling.noise import NoiseSampler
from hnlmrec.negative_sampling.popularity import PopularitySampler
from hnlmrec.negative_sampling.semantic import SemanticSampler
from hnlmrec.negative_sampling.shuffled import ShuffledSampler
from hnlmrec.negative_sampling.softmax_v import SoftmaxVSampler
from hnlmrec.negative_sampling.srns import SRNSSampler
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.negative_sampling.warp import WARPSampler

SAMPLERS: dict[str, type[NegativeSampler]] = {
    "uniform": UniformSampler,
    "popularity": PopularitySampler,
    "dns": DNSSampler,
    "dns_mn": DNSMNSampler,
    "softmax_v": SoftmaxVSampler,
    "warp": WARPSampler,
    "srns": SRNSSampler,
    "adasir": AdaSIRSampler,
    "mixgcf": MixGCFSampler,
    "dens": DENSSampler,
    "ahns": AHNSSampler,
    "in_batch": InBatchSampler,
    "file": FileSampler,
    "llmhni": LLMHNISampler,
    "semantic": SemanticSampler,
    "hnlmrec": HNLMRecSampler,
    "noise": NoiseSampler,
    "shuffled": ShuffledSampler,
}


def build_sampler(name: str, config: SamplerConfig, resources: SamplerResources) -> NegativeSampler:
    """Make the sampler of that name.

    Args:
        name: a key of `SAMPLERS`.
        config: an instance of that sampler's `Config`.
        resources: what the run has.

    Raises:
        UnknownChoiceError: there is no such sampler.
        ConfigError: a resource that it needs is missing.
    """
    return lookup(SAMPLERS, name, "sampler").build(resources, config)


__all__ = ["SAMPLERS", "NegativeSampler", "Negatives", "SamplerConfig", "SamplerResources", "build_sampler"]
