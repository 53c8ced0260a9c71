"""The semantic sampler and its ablations: real vectors reach training, misses are counted, nothing collapses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.alignment import AlignmentConfig, SemanticProjector
from hnlmrec.data.embeddings import HardNegativeTable, unit_rows
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.losses import bpr
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, NegativeSampler, SamplerResources, build_sampler

N, SIZE, TEXT_SIZE = 10, 4, 6


def make_dataset(train: Interactions) -> InteractionDataset:
    empty = Interactions.from_pairs([], [], train.n_users, train.n_items)
    users, items = Vocabulary(map(str, range(train.n_users))), Vocabulary(map(str, range(train.n_items)))
    return InteractionDataset(users, items, train, empty, empty)


DATASET = make_dataset(Interactions.from_pairs([*range(N), *range(N)], [*range(N), *range(1, N), 0], N, N))
RNG = np.random.default_rng(0)
TEXTS = RNG.standard_normal((N, TEXT_SIZE)).astype(np.float32)
VECTORS = RNG.standard_normal((3, TEXT_SIZE)).astype(np.float32)


def make(
    name: str = "semantic",
    kind: str = "linear",
    items: tuple[int, ...] = (-1, -1, -1),
    judgements: JudgementTable | None = None,
    **fields: object,
):
    """Pairs (0, 0) and (1, any) have one hard negative each, (2, 2) has one too."""
    table = HardNegativeTable([0, 1, 2], [0, -1, 2], VECTORS, N, items)
    config = AlignmentConfig(projector=kind)  # type: ignore[arg-type]
    projector = SemanticProjector(TEXTS, SIZE, config, generator=torch.Generator().manual_seed(0))
    resources = SamplerResources(DATASET, table, projector, TEXTS, judgements=judgements)
    return build_sampler(name, SAMPLERS[name].Config(**fields), resources), projector


def make_embeddings(scale: float = 1.0) -> Embeddings:
    generator = torch.Generator().manual_seed(1)
    return Embeddings(*((scale * torch.randn(N, SIZE, generator=generator)).requires_grad_() for _ in range(2)))


PAIRS = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 1, 2, 3])


def draw(sampler: NegativeSampler, embeddings: Embeddings):
    return sampler.sample(*PAIRS, embeddings, torch.Generator().manual_seed(2))


def test_the_vector_is_the_mix_of_the_projected_row_and_a_random_item() -> None:
    sampler, projector = make(alpha=0.3, norm="none")
    embeddings = make_embeddings()
    drawn = draw(sampler, embeddings)
    plain = embeddings.items[drawn.items]
    for b, row in ((0, 0), (2, 1), (3, 2)):
        expected = 0.3 * projector(torch.from_numpy(VECTORS[row])) + 0.7 * plain[b, 0]
        torch.testing.assert_close(drawn.vectors[b, 0], expected)
        torch.testing.assert_close(drawn.hard[b, 0], projector(torch.from_numpy(VECTORS[row])))
    for b in (1, 4):  # no row: the plain item
        torch.testing.assert_close(drawn.vectors[b, 0], plain[b, 0])
    assert drawn.hard_found[:, 0].tolist() == [True, False, True, True, False]
    assert sampler.counts() == {"lookups": 5, "found": 3, "missing": 2, "observed_rows_left_out": 0}


def test_a_generated_negative_that_the_judge_calls_false_is_left_out() -> None:
    one = np.ones(1, dtype=np.float32)
    false = JudgementTable(np.array([1]), np.array([5]), one, one)
    sampler, _ = make(items=(5, 5, -1), judgements=false, drop_judged_false=True)
    assert draw(sampler, make_embeddings()).hard_found[:, 0].tolist() == [True, False, False, True, False]
    assert sampler.counts()["judged_false_rows_left_out"] == 1
    with pytest.raises(ConfigError, match="drop_judged_false"):
        make(drop_judged_false=True)


def test_items_near_a_generated_vector_stand_in_for_it() -> None:
    one = np.ones(1, dtype=np.float32)
    order = np.argsort(-unit_rows(VECTORS) @ unit_rows(TEXTS).T, axis=1)
    free = [item for item in order[1].tolist() if item not in (1, 2)]  # user 1 has these
    false = JudgementTable(np.array([1]), np.array(free[:1]), one, one)
    for judgements, expected in ((None, free[:2]), (false, free[1:3])):
        sampler, projector = make(
            grounded=2, norm="none", judgements=judgements, drop_judged_false=judgements is not None
        )
        users, positives = torch.ones(50, dtype=torch.int64), torch.full((50,), 1)
        drawn = sampler.sample(users, positives, make_embeddings(), torch.Generator().manual_seed(3))
        items = drawn.hard_items[:, 0]
        assert set(items.tolist()) == set(expected)
        torch.testing.assert_close(drawn.hard[:, 0], projector(torch.from_numpy(TEXTS[items.numpy()])))
    noise, _ = make("noise", grounded=2)
    assert noise.index.find(*PAIRS)[1].tolist() == [2, 0, 2, 2, 0]  # as many, for the same pairs
    assert "judged_false_rows_left_out" not in noise.counts()


def test_the_ranking_gradient_stops_at_the_hard_negative() -> None:
    sampler, projector = make("semantic", "mlp", alpha=0.5)
    embeddings = make_embeddings()
    drawn = draw(sampler, embeddings)
    drawn.vectors.square().sum().backward()
    assert all(parameter.grad is None for parameter in projector.parameters())
    assert embeddings.items.grad.abs().sum() > 0


def test_the_alignment_gradient_stops_at_the_cf_embeddings() -> None:
    sampler, projector = make()
    embeddings = make_embeddings()
    sampler.auxiliary_loss(*PAIRS, draw(sampler, embeddings), embeddings).backward()
    assert embeddings.items.grad is None
    assert embeddings.users.grad is None
    assert projector.weight.grad.abs().sum() > 0


def test_a_fixed_projector_has_nothing_to_learn() -> None:
    sampler, _ = make(kind="pca")
    embeddings = make_embeddings()
    assert sampler.auxiliary_loss(*PAIRS, draw(sampler, embeddings), embeddings) is None


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_hard_negative_grows_with_the_cf_embeddings(scale: float) -> None:
    embeddings = make_embeddings(scale)
    drawn = draw(make(norm="catalogue")[0], embeddings)
    expected = embeddings.items[drawn.items].norm(dim=2).mean().expand(3)
    torch.testing.assert_close(drawn.hard[[0, 2, 3], 0].norm(dim=1), expected)
    drawn = draw(make(norm="positive")[0], embeddings)
    torch.testing.assert_close(
        drawn.hard[[0, 2, 3], 0].norm(dim=1), embeddings.items[PAIRS[1][[0, 2, 3]]].norm(dim=1)
    )


def test_the_linear_schedule_rises_with_the_epochs() -> None:
    sampler, _ = make(alpha=0.8, schedule="linear", warmup_epochs=4)
    embeddings = make_embeddings()
    shares = []
    for epoch in (0, 1, 3, 9):
        sampler.start_epoch(epoch, embeddings)
        drawn = draw(sampler, embeddings)
        moved = (drawn.vectors - embeddings.items[drawn.items])[0, 0]
        shares.append((moved / (drawn.hard - embeddings.items[drawn.items])[0, 0]).mean().item())
    np.testing.assert_allclose(shares, [0.2, 0.4, 0.8, 0.8], rtol=1e-4)


def test_rows_that_stand_for_train_items_are_left_out() -> None:
    sampler, _ = make(items=(1, -1, 7))  # item 1 is in user 0's train split, item 7 not in user 2's
    drawn = draw(sampler, make_embeddings())
    assert drawn.hard_found[:, 0].tolist() == [False, False, True, True, False]
    assert sampler.counts()["observed_rows_left_out"] == 1


def test_noise_and_shuffling_find_the_same_pairs_but_other_vectors() -> None:
    embeddings = make_embeddings()
    real, noise = draw(make(norm="none")[0], embeddings), draw(make("noise", norm="none")[0], embeddings)
    assert torch.equal(noise.hard_found, real.hard_found)
    assert not torch.isclose(noise.hard, real.hard)[[0, 2, 3]].any()
    again = draw(make("noise", norm="none")[0], embeddings)
    torch.testing.assert_close(again.hard, noise.hard)  # a row has one noise vector, not a new one each time
    shuffled = draw(make("shuffled", norm="none", seed=1)[0], embeddings)
    order = [int(((real.hard[[0, 2, 3], 0] - row).norm(dim=1)).argmin()) for row in shuffled.hard[[0, 2, 3], 0]]
    assert sorted(order) == [0, 1, 2]
    assert all(place != kept for place, kept in enumerate(order))


@pytest.mark.parametrize("match", ["covariance", "norms"])
def test_noise_shares_the_moments_of_the_table(match: str) -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((900, TEXT_SIZE)) @ rng.standard_normal((TEXT_SIZE, TEXT_SIZE)) + 2).astype(
        np.float16
    )
    sampler, _ = make("noise", match=match)
    table = HardNegativeTable(np.zeros(900), np.zeros(900), vectors, N, np.full(900, -1))
    noise, real = sampler.vectors_of(table).astype(np.float64), vectors.astype(np.float64)
    assert noise.shape == real.shape
    if match == "norms":
        np.testing.assert_allclose(np.linalg.norm(noise, axis=1), np.linalg.norm(real, axis=1), rtol=2e-3)
    else:
        spread = np.abs(np.cov(real.T)).max()
        np.testing.assert_allclose(noise.mean(0), real.mean(0), atol=0.2 * spread**0.5)
        np.testing.assert_allclose(np.cov(noise.T), np.cov(real.T), atol=0.2 * spread)


def test_vectors_of_another_encoder_are_refused() -> None:
    _, projector = make()
    table = HardNegativeTable([0], [0], np.ones((1, 3), np.float32), N, [-1])
    with pytest.raises(DataError, match="hard negatives 3, projector 6"):
        build_sampler(
            "semantic", SAMPLERS["semantic"].Config(), SamplerResources(DATASET, table, projector, TEXTS)
        )


def test_a_trainable_projector_needs_item_vectors() -> None:
    _, projector = make()
    table = HardNegativeTable([0], [0], VECTORS[:1], N, [-1])
    with pytest.raises(ConfigError, match="needs item vectors"):
        build_sampler("semantic", SAMPLERS["semantic"].Config(), SamplerResources(DATASET, table, projector))


class PlantedGroups:
    """Eight groups of users and items; generated texts lie near another group, plus a direction of their own.

    The common direction is what a language model's style is to an encoder, and the way out for a projector that is
    trained to make negatives easy.
    """

    def __init__(self) -> None:
        n, n_groups = 80, 8
        rng = np.random.default_rng(0)
        groups = np.arange(n) % n_groups
        self.likes = groups[:, None] == groups
        self.held_out = self.likes & (rng.random((n, n)) < 0.3)
        train = Interactions.from_pairs(*(self.likes & ~self.held_out).nonzero(), n, n)
        centres = rng.standard_normal((n_groups, 16))
        self.texts = (centres[groups] + 0.5 * rng.standard_normal((n, 16))).astype(np.float32)
        wrong = centres[(groups[train.users] + 1) % n_groups]
        vectors = (wrong + 0.5 * rng.standard_normal(wrong.shape) + 2.0).astype(np.float32)
        self.table = HardNegativeTable(train.users, train.indices, vectors, n, np.full(len(train), -1))
        self.dataset = make_dataset(train)
        self.users, self.items = (torch.from_numpy(part.astype(np.int64)) for part in (train.users, train.indices))

    def auc(self, embeddings: Embeddings) -> float:
        scores = (embeddings.users @ embeddings.items.T).detach().numpy()
        rows = [u for u in range(len(scores)) if self.held_out[u].any()]
        return float(
            np.mean([(scores[u][self.held_out[u]][:, None] > scores[u][~self.likes[u]]).mean() for u in rows])
        )


def train_planted(planted: PlantedGroups, *, by_ranking: bool) -> tuple[float, float]:
    """Return (AUC of the held-out items, mean cosine of two users): by the shipped objective or by the ranking."""
    generator = torch.Generator().manual_seed(0)
    projector = SemanticProjector(planted.texts, 8, AlignmentConfig(), generator=generator)
    resources = SamplerResources(planted.dataset, planted.table, projector, planted.texts)
    sampler = build_sampler("semantic", SAMPLERS["semantic"].Config(alpha=0.1), resources)
    users, items = (nn.Parameter(0.1 * torch.randn(80, 8, generator=generator)) for _ in range(2))
    optimiser = torch.optim.Adam([users, items, *projector.parameters()], lr=0.02)
    pairs, embeddings = (planted.users, planted.items), Embeddings(users, items)
    text = torch.from_numpy(planted.table.lookup(*pairs)[0])
    for _ in range(150):
        drawn = sampler.sample(*pairs, embeddings, generator)
        vectors: Tensor = drawn.vectors
        loss = torch.zeros(())
        if by_ranking:
            vectors = 0.1 * projector(text) + 0.9 * items[drawn.items]
        else:
            loss = sampler.auxiliary_loss(*pairs, drawn, embeddings)
        positive = (users[pairs[0]] * items[pairs[1]]).sum(1)
        loss = loss + bpr(positive, (users[pairs[0]][:, None] * vectors).sum(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    directions = functional.normalize(users.detach(), dim=1)
    cosines = directions @ directions.T
    return planted.auc(embeddings), float((cosines.sum() - 80) / (80 * 79))


def test_the_shipped_objective_keeps_embeddings_apart_where_the_ranking_loss_collapses_them() -> None:
    planted = PlantedGroups()
    auc, cosine = train_planted(planted, by_ranking=False)
    assert auc > 0.9
    assert abs(cosine) < 0.2
    auc, cosine = train_planted(planted, by_ranking=True)
    assert auc < 0.7
    assert cosine > 0.7
