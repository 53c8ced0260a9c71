"""Semantic negatives: a generated hard negative, projected into the CF space and mixed with a random item.

"HNLMRec" (arXiv 2504.04726): e~ = alpha e_hard + (1 - alpha) e_j, j random. The text vectors come from a
`HardNegativeTable`, whoever wrote them: the encoder of generated names, or the fine-tuned LLM itself.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from hnlmrec.alignment import MixingSchedule, SemanticProjector, alignment_loss, has_text, mixing_weight
from hnlmrec.config import added
from hnlmrec.data.embeddings import HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling.base import Negatives, NegativeSampler, SamplerConfig, SamplerResources
from hnlmrec.negative_sampling.candidates import (
    NCandidates,
    UniformCandidates,
    choose,
    guard_of,
    number_of_candidates,
)
from hnlmrec.negative_sampling.drawable import DrawableRows, generated_rows, grounded_rows
from hnlmrec.negative_sampling.pair_index import PairIndex
from hnlmrec.negative_sampling.risk import Guard
from hnlmrec.negative_sampling.scoring import candidate_scores
from hnlmrec.negative_sampling.vector_rows import VectorRows

ItemVectors = npt.NDArray[np.floating[Any]]


class SemanticConfig(SamplerConfig):
    """With K > 1, a pair's negatives are mixed from K different generated ones, each with its own random item.

    Where a pair has more than K generated negatives, K of them are drawn; where it has fewer, the rest are plain
    random items, which `counts` reports as missing.
    """

    alpha: float = Field(0.1, ge=0, le=1)
    """Share of the hard negative in the mix; of `beta`, the mean; of `linear`, the final value."""
    schedule: MixingSchedule = "constant"
    """`constant`, `linear` (rises to alpha) or `beta` (random for each pair)."""
    warmup_epochs: int = Field(20, ge=1)
    """Epochs over which the linear schedule rises."""
    n_candidates: NCandidates = 1
    """Number of uniform candidates of which e_j is the one that the model scores highest; 1 is a random item, and
    `auto` one in a hundred of the catalogue's items, at least 1 and at most 16."""
    nominated: int = Field(0, ge=0)
    """Catalogue items that the pair's generated negatives stand for, added to the candidates."""
    risk_penalty: float = Field(0.0, ge=0)
    """What a candidate of median risk, as a judge estimates it, loses of its score, in standard deviations of the
    candidates' scores; one of r times that risk loses log2(1 + r) times as much. 0 needs no judge."""
    drop_judged_false: bool = added(False)
    """Leave out generated negatives whose item a judge lists among the user's likely false negatives."""
    grounded: int = added(0, ge=0)
    """Catalogue items nearest to a generated vector, neither the user's own nor (with `drop_judged_false`) called
    false by the judge, that stand in for it, each with its own vector; 0 takes the vector as it is."""
    grounded_by: Literal["cosine", "product"] = added("cosine")
    """What makes an item near: the direction of its vector alone, or its length too, by which popular items are
    long."""
    norm: Literal["catalogue", "positive", "none"] = "catalogue"
    """Length that e_hard is given: the mean of the batch's random items, that of the positive, or its own. CF
    embeddings grow in training; a vector of fixed length would become an ever easier negative, with a score near
    zero whatever its direction."""


class SemanticSampler(NegativeSampler):
    """e~ = alpha e_hard + (1 - alpha) e_j with e_hard = projector(text vector), j outside train(u).

    In the paper j is uniform. With `n_candidates` above 1 it is the hardest of several, the items that the
    generated negatives stand for among them, less a penalty for the risk that it is a false negative (`Guard`).

    The ranking gradient reaches e_j and stops at e_hard; the projector learns by its alignment objective alone, on
    the batch's positives, against CF embeddings without gradient. Otherwise it would learn to emit easy negatives.
    `items` are the j that the vectors were mixed from.

    Departs from the authors' code: a pair without a generated negative is counted, never filled with noise; the
    projector is trained (there its parameters are in no optimiser); e_hard gets the length of CF embeddings; and
    rows that stand for one of the user's train items are left out. With `grounded`, e_hard is the projected vector
    of a catalogue item near to the generated one, as the text variant has a catalogue item's.

    Args:
        dataset: its train split is the only one read.
        config: see `SemanticConfig`.
        table: the generated negatives.
        projector: from text vectors to the CF space.
        item_vectors: [n_items, d_text], zeros for an item without text; None where the projector is fixed.
        judgements: generated negatives whose item they list are left out, and no such item stands in for one; None
            lists none.

    Raises:
        DataError: the text vectors of table, items and projector differ in length.
    """

    Config = SemanticConfig
    requires = ("hard_negatives", "projector")
    has_text: Tensor  # bool [n_items]
    table_rows: Tensor  # int64 [n], rows of `hard_vectors` that may be drawn
    table_items: Tensor  # int64 [m], the item that a row of `hard_vectors` stands for, or -1
    tally: Tensor  # int64 [2], lookups and found

    def __init__(
        self,
        dataset: InteractionDataset,
        config: SemanticConfig,
        *,
        table: HardNegativeTable,
        projector: SemanticProjector,
        item_vectors: ItemVectors | None = None,
        judgements: JudgementTable | None = None,
    ) -> None:
        super().__init__(dataset, config)
        self.config, self.projector, self.epoch = config, projector, 0
        _check_sizes(table, projector, item_vectors, dataset.n_items)
        rows = self._rows(dataset, table, item_vectors, judgements)
        self.row_counts = rows.counts
        self.candidates = UniformCandidates(dataset.train)
        self.n_candidates = number_of_candidates(config.n_candidates, dataset.n_items)
        self.guard: Guard | None = None
        self.index = PairIndex(rows.users, rows.positives, dataset.n_items)
        self.register_buffer("table_rows", torch.from_numpy(rows.places), persistent=False)
        self.register_buffer("table_items", torch.from_numpy(rows.items), persistent=False)
        self.hard_vectors = VectorRows(rows.vectors)
        self.item_vectors = None if item_vectors is None else VectorRows(item_vectors)
        known = np.zeros(dataset.n_items, dtype=np.bool_) if item_vectors is None else has_text(item_vectors)
        self.register_buffer("has_text", torch.from_numpy(known), persistent=False)
        self.register_buffer("tally", torch.zeros(2, dtype=torch.int64))

    @classmethod
    def build(cls, resources: SamplerResources, config: SamplerConfig) -> Self:
        """Make the sampler; it needs hard negatives and a projector, and item vectors if that is trainable."""
        assert isinstance(config, SemanticConfig)
        name = cls.__name__.removesuffix("Sampler").lower()
        resources.require(name, *cls.requires)
        table, projector = resources.hard_negatives, resources.projector
        assert table is not None
        assert projector is not None
        if projector.is_trainable:
            resources.require(name, "item_vectors")
        if config.drop_judged_false:
            resources.require(f"{name} with drop_judged_false", "judgements")
        sampler = cls(
            resources.dataset,
            config,
            table=table,
            projector=projector,
            item_vectors=resources.item_vectors,
            judgements=resources.judgements if config.drop_judged_false else None,
        )
        sampler.guard = guard_of(name, resources, config.risk_penalty)
        return sampler

    def _rows(
        self,
        dataset: InteractionDataset,
        table: HardNegativeTable,
        item_vectors: ItemVectors | None,
        judgements: JudgementTable | None,
    ) -> DrawableRows:
        config, train, vectors = self.config, dataset.train, self.vectors_of(table)
        if not config.grounded:
            return generated_rows(table, vectors, self.items_of(table), train, judgements)
        if item_vectors is None:
            raise ConfigError("sampler.grounded needs the items' vectors in the space of the generated ones.")
        barred = [train] + ([] if judgements is None else [judgements.pairs(train.n_users, train.n_items)])
        by_product = config.grounded_by == "product"
        return grounded_rows(table, vectors, item_vectors, barred, config.grounded, by_product=by_product)

    def vectors_of(self, table: HardNegativeTable) -> npt.NDArray[np.floating[Any]]:
        """Return the vectors that stand for the table's rows, [n, d_text]; the ablations change them."""
        return table.vectors

    def items_of(self, table: HardNegativeTable) -> npt.NDArray[np.int64]:
        """Return the item that each vector was made for, int64 [n]; -1 for none."""
        return table.items

    def start_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        """Note the epoch, for the mixing schedule."""
        self.epoch = epoch

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        """Mix K vectors for each pair: vectors [B, K, d], items int64 [B, K], hard [B, K, d]."""
        items = self._plain(users, positives, embeddings, rng)
        plain = embeddings.take(embeddings.items, items)  # [B, K, d]
        hard, found, hard_items = self._hard(users, positives, rng)
        hard = self._rescaled(hard, plain.detach(), embeddings.items.detach()[positives])
        config = self.config
        shares = mixing_weight(
            config.schedule,
            config.alpha,
            epoch=self.epoch,
            warmup_epochs=config.warmup_epochs,
            shape=(*items.shape, 1),
            rng=rng,
        )
        shares = shares * found[:, :, None]
        return Negatives(
            items,
            shares * hard + (1 - shares) * plain,
            hard=hard,
            hard_found=found,
            hard_items=hard_items,
            hard_shares=shares.squeeze(2),
        )

    def auxiliary_loss(
        self, users: Tensor, positives: Tensor, negatives: Negatives, embeddings: Embeddings
    ) -> Tensor | None:
        """Return the weighted alignment objective on the positives with text; None where nothing is learned."""
        weight = self.projector.config.weight
        if not self.projector.is_trainable or weight == 0 or self.item_vectors is None:
            return None
        items = positives
        if self.projector.attention is not None:  # sets of one user's items, as near as the batch has them
            size = min(max(2, self.n_negatives), len(items))
            items = positives[users.argsort(stable=True)][: len(items) // size * size].view(-1, size)
        known = torch.where(self.has_text[items], items, -1)
        text, target = self.item_vectors.gather(known), embeddings.items.detach()[items]
        return weight * alignment_loss(self.projector, text, target, known)

    def counts(self) -> dict[str, int]:
        """Return lookups, how many were found and missing, and what became of the table's rows."""
        lookups, found = self.tally.tolist()
        return {"lookups": lookups, "found": found, "missing": lookups - found, **self.row_counts}

    @torch.no_grad()
    def _plain(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Tensor:
        """Choose the items that the hard negatives are mixed with, int64 [B, K]."""
        config, k = self.config, self.n_negatives
        drawn = self.candidates.draw(users, k * self.n_candidates, rng)
        candidates = drawn.view(len(users), k, -1)  # [B, K, n]
        if config.nominated:
            named = self._nominated(users, positives, k * config.nominated, rng).view(len(users), k, -1)
            candidates = torch.cat([candidates, torch.where(named >= 0, named, candidates[:, :, :1])], dim=2)
        if candidates.shape[2] == 1:
            return candidates.squeeze(2)
        scores = candidate_scores(embeddings.users[users], embeddings.items, candidates.flatten(1))
        scores = scores.view(candidates.shape)
        if self.guard is not None:
            scores = self.guard.lower(users, candidates, scores)
        return choose(candidates, scores.argmax(dim=2))

    def _nominated(self, users: Tensor, positives: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """Draw n items that the pair's generated negatives stand for, int64 [B, n]; -1 where there are no more."""
        places = self.index.draw(users, positives, n, rng)
        if not len(self.table_rows):
            return places
        return torch.where(places >= 0, self.table_items[self.table_rows[places.clamp(min=0)]], -1)

    @torch.no_grad()
    def _hard(self, users: Tensor, positives: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Look up and project: (points [B, K, d] without gradient, found bool [B, K], items int64 [B, K])."""
        places = self.index.draw(users, positives, self.n_negatives, rng)
        found = places >= 0
        rows = places if not len(self.table_rows) else torch.where(found, self.table_rows[places], -1)
        self.tally += torch.stack([torch.full_like(found.sum(), found.numel()), found.sum()])
        points: Tensor = self.projector(self.hard_vectors.gather(rows), found)
        items = torch.where(found, self.table_items[rows], -1) if len(self.table_items) else rows
        return points, found, items

    def _rescaled(self, hard: Tensor, plain: Tensor, positive: Tensor) -> Tensor:
        """Give the points [B, K, d] their length; `plain` [B, K, d] and `positive` [B, d] set it."""
        if self.config.norm == "none":
            return hard
        own = torch.linalg.vector_norm(hard, dim=2, keepdim=True).clamp(min=1e-12)
        if self.config.norm == "positive":
            wanted = torch.linalg.vector_norm(positive, dim=1)[:, None, None]
        else:
            wanted = torch.linalg.vector_norm(plain, dim=2).mean()
        scale: Tensor = wanted / own
        return hard * scale


def _check_sizes(
    table: HardNegativeTable, projector: SemanticProjector, item_vectors: ItemVectors | None, n_items: int
) -> None:
    sizes = {"hard negatives": table.size, "projector": projector.text_size}
    if item_vectors is not None:
        sizes["items"] = item_vectors.shape[1]
        if len(item_vectors) != n_items:
            raise DataError(f"there are {len(item_vectors)} item text vectors for {n_items} items.")
    if len(set(sizes.values())) > 1:
        raise DataError(
            "text vectors differ in length: "
            + ", ".join(f"{name} {size}" for name, size in sizes.items())
            + ". Encode items and hard negatives with the same encoder."
        )
