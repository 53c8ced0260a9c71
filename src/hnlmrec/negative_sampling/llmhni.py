"""LLMHNI's rule: a negative that the model scores highly and whose text is far from what the user reads.

Tianrui Song, Wen-Shuo Chao, Hao Liu: "Hard vs. Noise: Resolving Hard-Noisy Sample Confusion in Recommender Systems
via Large Language Models", AAAI 2026 (arXiv 2511.07295), the semantic relevance in its negative sampling. The sign
is the opposite of HNLMRec's: semantic nearness marks a false negative, not a hard one.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.data.embeddings import unit_rows
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.node_texts import mean_item_texts
from hnlmrec.errors import DataError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, SamplerResources
from hnlmrec.negative_sampling.candidates import CandidateConfig, CandidateSampler, NCandidates, choose
from hnlmrec.negative_sampling.semantic import ItemVectors


class LLMHNIConfig(CandidateConfig):
    """The K negatives are each the best of n candidates of their own."""

    n_candidates: NCandidates = 16
    """Number n of candidates, drawn uniformly outside the user's train items, that one negative is chosen from."""
    semantic_weight: float = Field(2.0, ge=0)
    """What a candidate's score loses for a cosine of 1 between its text and the user's; 0 makes it DNS."""


class LLMHNISampler(CandidateSampler):
    """j = argmax over C of s(u, j) - weight cos(t_u, t_j), t_u the mean text of the user's train items.

    A text that is not there has cosine 0 with all.

    Departs from the paper: its vectors are projected for relevance between users and items first, here they are
    the encoder's, like those of every other method; the relevance is a penalty in place of a choice in two steps;
    and its graph of logical relevance, which denoises the positives, has no part here.

    Args:
        dataset: its train split is the only one read.
        config: see `LLMHNIConfig`.
        item_vectors: [n_items, d_text], zeros for an item without text.

    Raises:
        DataError: there are not as many text vectors as items.
    """

    Config = LLMHNIConfig
    requires = ("item_vectors",)
    user_texts: Tensor  # [n_users, d_text]
    item_texts: Tensor  # [n_items, d_text]

    def __init__(self, dataset: InteractionDataset, config: LLMHNIConfig, item_vectors: ItemVectors) -> None:
        super().__init__(dataset, config)
        if len(item_vectors) != dataset.n_items:
            raise DataError(f"there are {len(item_vectors)} item text vectors for {dataset.n_items} items.")
        self.semantic_weight = config.semantic_weight
        items = unit_rows(item_vectors)
        users = mean_item_texts(items, dataset.train)
        self.register_buffer("user_texts", torch.from_numpy(users), persistent=False)
        self.register_buffer("item_texts", torch.from_numpy(items), persistent=False)

    @classmethod
    def create(cls, resources: SamplerResources, config: CandidateConfig) -> Self:
        """Make the sampler; it needs the items' text vectors."""
        assert isinstance(config, LLMHNIConfig)
        resources.require("llmhni", *cls.requires)
        assert resources.item_vectors is not None
        return cls(resources.dataset, config, resources.item_vectors)

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Draw K items for each user, int64 [B, K]."""
        candidates = self.draw(users, rng)  # [B, K, n]
        scores = self.scores(embeddings.users[users], embeddings.items, candidates)
        relevance = self.scores(self.user_texts[users], self.item_texts, candidates)
        scores = scores - self.semantic_weight * relevance
        return Negatives(choose(candidates, self.guarded(users, candidates, scores).argmax(dim=2)))
