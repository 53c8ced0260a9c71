"""Each sampler's rule against a naive reference, and the edges of each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, NegativeSampler, SamplerResources, build_sampler, dens
from hnlmrec.negative_sampling.candidates import CandidateSampler, number_of_candidates
from hnlmrec.negative_sampling.layers import pool
from hnlmrec.negative_sampling.scoring import candidate_scores
from hnlmrec.negative_sampling.softmax_v import hardness_weights

N_USERS, N_ITEMS, SIZE = 12, 30, 5


def make_dataset(pairs: list[tuple[int, int]] | None = None) -> InteractionDataset:
    if pairs is None:
        rng = np.random.default_rng(0)
        pairs = [(u, i) for u in range(N_USERS) for i in rng.permutation(N_ITEMS)[: 1 + u]]
    empty = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    return InteractionDataset(
        Vocabulary(map(str, range(N_USERS)), "user"),
        Vocabulary(map(str, range(N_ITEMS)), "item"),
        Interactions.from_pairs(*zip(*pairs, strict=True), N_USERS, N_ITEMS),
        empty,
        empty,
    )


def make(name: str, dataset: InteractionDataset | None = None, **fields: object) -> NegativeSampler:
    resources = SamplerResources(dataset or make_dataset(), embedding_size=SIZE)
    return build_sampler(name, SAMPLERS[name].Config(**fields), resources)


def make_embeddings(n_layers: int = 1, scale: float = 1.0) -> Embeddings:
    generator = torch.Generator().manual_seed(7)
    users = [scale * torch.randn(N_USERS, SIZE, generator=generator) for _ in range(n_layers)]
    items = [scale * torch.randn(N_ITEMS, SIZE, generator=generator) for _ in range(n_layers)]
    layers = (tuple(users), tuple(items)) if n_layers > 1 else ((), ())
    return Embeddings(torch.stack(users).mean(0), torch.stack(items).mean(0), *layers)


def make_batch(dataset: InteractionDataset) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(dataset.train.users.astype(np.int64)), torch.from_numpy(
        dataset.train.indices.astype(np.int64)
    )


def fix_candidates(sampler: NegativeSampler, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Let every draw of candidates give the same ones, and return them, [B, K, n]."""
    assert isinstance(sampler, CandidateSampler)
    users, _ = make_batch(make_dataset())
    candidates = sampler.draw(users, torch.Generator().manual_seed(3))
    monkeypatch.setattr(sampler, "draw", lambda users, rng: candidates)
    return candidates.numpy()


def naive_scores(embeddings: Embeddings, candidates: np.ndarray) -> np.ndarray:
    users, _ = make_batch(make_dataset())
    return np.einsum("bd,bknd->bkn", embeddings.users.numpy()[users], embeddings.items.numpy()[candidates])


def test_candidate_scores_are_dot_products_in_every_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(6, 33, generator=generator), torch.randn(9, 33, generator=generator)
    candidates = torch.randint(9, (6, 4), generator=generator)
    expected = torch.einsum("bd,bnd->bn", users, items[candidates])
    torch.testing.assert_close(candidate_scores(users.requires_grad_(), items, candidates), expected)
    torch.testing.assert_close(candidate_scores(users.double(), items.double(), candidates).float(), expected)
    assert not candidate_scores(users, items, candidates).requires_grad


def test_dns_takes_the_hardest_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make("dns", n_negatives=2, n_candidates=6)
    candidates, embeddings = fix_candidates(sampler, monkeypatch), make_embeddings()
    drawn = sampler.sample(*make_batch(make_dataset()), embeddings, torch.Generator()).items
    best = naive_scores(embeddings, candidates).argmax(2)
    assert (drawn.numpy() == np.take_along_axis(candidates, best[:, :, None], 2)[:, :, 0]).all()


@pytest.mark.parametrize(("n_items", "n"), [(148, 1), (1_008, 10), (1_599, 15), (11_924, 16)])
def test_the_number_of_candidates_may_follow_from_the_catalogue(n_items: int, n: int) -> None:
    assert number_of_candidates("auto", n_items) == n
    assert number_of_candidates(32, n_items) == 32


@pytest.mark.parametrize("name", ["dns", "dns_mn", "mixgcf", "ahns"])
def test_a_small_catalogue_gets_one_candidate(name: str) -> None:
    sampler = make(name, n_candidates="auto")
    assert isinstance(sampler, CandidateSampler)
    assert sampler.n_candidates == 1
    users, positives = make_batch(make_dataset())
    embeddings = make_embeddings(2)
    drawn = sampler.sample(users, positives, embeddings, torch.Generator()).embeddings(embeddings)
    assert drawn.shape == (len(users), 1, SIZE)


def test_dns_mn_is_uniform_among_the_top_m(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make("dns_mn", n_candidates=7, n_top=3)
    candidates, embeddings = fix_candidates(sampler, monkeypatch), make_embeddings()
    order = np.argsort(-naive_scores(embeddings, candidates), axis=2)[:, :, :3]
    top = np.take_along_axis(candidates, order, 2)[:, 0]  # [B, 3]
    rng, batch = torch.Generator().manual_seed(0), make_batch(make_dataset())
    draws = np.concatenate([sampler.sample(*batch, embeddings, rng).items.numpy() for _ in range(300)], axis=1)
    assert (draws[:, :, None] == top[:, None, :]).any(2).all()
    row = next(b for b in range(len(top)) if len(set(top[b])) == 3)
    counts = [(draws[row] == item).sum() for item in top[row]]
    assert sum((count - 100) ** 2 / 100 for count in counts) < 13.8  # chi-square, 2 degrees, p = 0.001


@pytest.mark.parametrize("p", [-2.0, -1.5])
def test_ahns_takes_the_candidate_nearest_to_the_wanted_score(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make("ahns", n_candidates=8, alpha=1.0, beta=0.1, p=p)
    candidates, embeddings = fix_candidates(sampler, monkeypatch), make_embeddings()
    users, positives = make_batch(make_dataset())
    drawn = sampler.sample(users, positives, embeddings, torch.Generator()).items.numpy()[:, 0]
    scores = naive_scores(embeddings, candidates)[:, 0]
    for b, (user, positive) in enumerate(zip(users, positives, strict=True)):
        score = float(embeddings.users[user] @ embeddings.items[positive])
        # Guard: below the pole at -alpha the wanted score is huge, and the hardest candidate the nearest.
        distance = -scores[b] if score <= -1 else np.abs(scores[b] - 0.1 * (score + 1) ** (p + 1))
        assert drawn[b] == candidates[b, 0, distance.argmin()]


def test_ahns_gives_harder_negatives_to_positives_that_score_lower() -> None:
    sampler, embeddings = make("ahns", n_candidates=20), make_embeddings(scale=0.5)
    users, positives = make_batch(make_dataset())
    rng = torch.Generator().manual_seed(0)
    drawn = torch.cat([sampler.sample(users, positives, embeddings, rng).items for _ in range(20)], dim=1)
    negative = (embeddings.users[users][:, None] * embeddings.items[drawn]).sum(2).mean(1)
    positive = (embeddings.users[users] * embeddings.items[positives]).sum(1)
    assert negative[positive < -0.5].mean() > negative[positive > 0.5].mean()


@pytest.mark.parametrize("n_layers", [1, 4])
def test_mixgcf_chooses_and_mixes_layer_by_layer(n_layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make("mixgcf", n_negatives=2, n_candidates=6)
    candidates, embeddings = fix_candidates(sampler, monkeypatch), make_embeddings(n_layers)
    users, positives = make_batch(make_dataset())
    drawn = sampler.sample(users, positives, embeddings, torch.Generator().manual_seed(11))
    shares = torch.rand((n_layers, *candidates.shape[:2], 1), generator=torch.Generator().manual_seed(11)).numpy()
    layers = embeddings.item_layers or (embeddings.items,)
    mixes = []
    for layer, share in zip(layers, shares, strict=True):
        table = layer.numpy()
        mixed = share[:, :, None] * table[positives][:, None, None] + (1 - share[:, :, None]) * table[candidates]
        scores = np.einsum("bd,bknd->bkn", embeddings.users.numpy()[users], mixed)
        best = scores.argmax(2)[:, :, None, None]
        mixes.append(np.take_along_axis(mixed, best, 2)[:, :, 0])
    np.testing.assert_allclose(drawn.vectors.numpy(), np.mean(mixes, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("in_cache", [2**18, 100, 1])  # all pairs at once, a few, one
def test_dens_chooses_by_the_gated_factors(in_cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dens, "_IN_CACHE", in_cache)
    sampler = make("dens", n_candidates=6, warmup_epochs=10)
    candidates, embeddings = fix_candidates(sampler, monkeypatch)[:, 0], make_embeddings()
    sampler.start_epoch(4, embeddings)
    users, positives = make_batch(make_dataset())
    drawn = sampler.sample(users, positives, embeddings, torch.Generator()).items.numpy()[:, 0]
    user, item = embeddings.users.numpy()[users], embeddings.items.numpy()
    gates = {name: value.detach().numpy() for name, value in sampler.named_parameters()}

    def gate(name: str, own: np.ndarray, context: np.ndarray) -> np.ndarray:
        logits = own @ gates[f"{name}.own"].T + gates[f"{name}.own_bias"]
        logits = logits + context @ gates[f"{name}.context"].T + gates[f"{name}.context_bias"]
        return 1 / (1 + np.exp(-logits))

    relevant = gate("positive_gate", item[positives], user) * item[positives]
    vectors = item[candidates]
    chosen = (1 - 0.4) * vectors - gate("negative_gate", vectors, relevant[:, None]) * vectors
    best = (user[:, None] * chosen).sum(2).argmax(1)
    assert (drawn == candidates[np.arange(len(best)), best]).all()


def test_dens_has_no_negatives_for_no_pairs() -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    drawn = make("dens", n_candidates=6).sample(nobody, nobody, make_embeddings(3), torch.Generator())
    assert drawn.items.shape == (0, 1)


def test_dens_chooses_with_the_users_vector_of_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, embeddings = make("dens", n_candidates=6), make_embeddings(3)
    fix_candidates(sampler, monkeypatch)
    users, positives = make_batch(make_dataset())
    for layer in range(3):
        others = [n for n in range(3) if n != layer]
        turned = [-vectors if n in others else vectors for n, vectors in enumerate(embeddings.user_layers)]
        changed = dataclasses.replace(embeddings, users=-embeddings.users, user_layers=tuple(turned))
        picks, changed_picks = (
            sampler.sample(users, positives, seen, torch.Generator()).layer_items for seen in (embeddings, changed)
        )
        assert torch.equal(picks[layer], changed_picks[layer])
        assert all(not torch.equal(picks[n], changed_picks[n]) for n in others)


def test_softmax_v_weights_follow_the_formula() -> None:
    losses = np.random.default_rng(0).random((4, 9))
    temperature = np.sqrt(losses.var(axis=1, keepdims=True) / (2 * 0.3))
    expected = np.exp(losses / temperature) / np.exp(losses / temperature).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(hardness_weights(torch.from_numpy(losses), 0.3).numpy(), expected)
    equal = hardness_weights(torch.ones(2, 4), 0.3)
    torch.testing.assert_close(equal, torch.full((2, 4), 0.25))


def test_softmax_v_weighs_harder_negatives_more() -> None:
    sampler, embeddings = make("softmax_v", n_negatives=8), make_embeddings()
    users, positives = make_batch(make_dataset())
    drawn = sampler.sample(users, positives, embeddings, torch.Generator().manual_seed(0))
    scores = (embeddings.users[users][:, None] * embeddings.items[drawn.items]).sum(2)
    rows = torch.arange(len(users))
    assert (drawn.weights[rows, scores.argmax(1)] >= drawn.weights[rows, scores.argmin(1)]).all()


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_warp_takes_the_first_that_violates_the_margin(margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, dataset = make("warp", n_negatives=2, n_candidates=6, margin=margin), make_dataset()
    candidates, embeddings = fix_candidates(sampler, monkeypatch), make_embeddings()
    users, positives = make_batch(dataset)
    drawn = sampler.sample(users, positives, embeddings, torch.Generator())
    scores = naive_scores(embeddings, candidates)
    liked = (embeddings.users[users] * embeddings.items[positives]).sum(1).numpy()
    harmonic = [sum(1 / r for r in range(1, n + 1)) for n in range(N_ITEMS + 1)]
    given_up = 0
    for row, user in enumerate(users.tolist()):
        free = N_ITEMS - len(dataset.train.of(user))
        for k in range(2):
            hits = [t for t in range(6) if scores[row, k, t] > liked[row] - margin]
            trial = hits[0] if hits else int(scores[row, k].argmax())
            weight = harmonic[max(1, free // (trial + 1))] / harmonic[N_ITEMS] / 2 if hits else 0.0
            assert drawn.items[row, k] == candidates[row, k, trial]
            assert float(drawn.weights[row, k]) == pytest.approx(weight, rel=1e-5)
            given_up += not hits
    assert 0 < given_up < 2 * len(users), "both cases are seen"


def test_in_batch_negatives_come_from_the_batch_and_fall_back_by_name() -> None:
    dataset = make_dataset([(u, u) for u in range(N_USERS)] + [(0, 1), (0, 2)])
    sampler, embeddings = make("in_batch", dataset, n_negatives=2, n_spare=60), make_embeddings()
    users, positives = torch.arange(6), torch.arange(6)
    drawn = sampler.sample(users, positives, embeddings, torch.Generator().manual_seed(0))
    assert set(drawn.items.unique().tolist()) <= set(range(6))
    assert sampler.counts() == {"drawn": 12, "filled_uniformly": 0}
    sampler.sample(users[:1], positives[:1], embeddings, torch.Generator().manual_seed(0))
    assert sampler.counts() == {"drawn": 14, "filled_uniformly": 2}


def test_in_batch_weights_undo_popularity() -> None:
    dataset = make_dataset([(u, 0) for u in range(9)] + [(10, 1), (11, 2), (9, 2)])
    sampler = make("in_batch", dataset, n_negatives=2, n_spare=30)
    users, positives = torch.tensor([9, 0, 10]), torch.tensor([2, 0, 1])
    for seed in range(20):
        drawn = sampler.sample(users, positives, make_embeddings(), torch.Generator().manual_seed(seed))
        if drawn.items[0].tolist() == [0, 1]:
            torch.testing.assert_close(drawn.weights[0], torch.tensor([0.1, 0.9]))  # 9 against 1 interaction
            return
    pytest.fail("the two items never came up together")


def test_srns_prefers_scores_that_varied() -> None:
    sampler = make("srns", memory_size=4, n_new=1, n_candidates=4, weight=100.0, warmup_epochs=1)
    embeddings = make_embeddings(scale=0.01)
    users, positives = torch.zeros(1, dtype=torch.int64), torch.tensor([int(make_dataset().train.of(0)[0])])
    rng = torch.Generator().manual_seed(0)
    sampler.start_epoch(5, embeddings)
    sampler.sample(users, positives, embeddings, rng)
    sampler.memory[0] = torch.tensor([n for n in range(N_ITEMS) if n != int(positives[0])][:4])
    sampler.history[0] = 0.5
    sampler.history[0, 2] = torch.tensor([0.1, 0.9, 0.1, 0.9, 0.5])
    assert sampler.sample(users, positives, embeddings, rng).items[0, 0] == sampler.memory[0, 2]


@pytest.mark.parametrize("name", ["srns", "adasir"])
def test_memories_are_renewed_once_an_epoch_towards_high_scores(name: str) -> None:
    sampler, embeddings = make(name, memory_size=5, n_new=10, temperature=0.1), make_embeddings()
    batch, rng = make_batch(make_dataset()), torch.Generator().manual_seed(0)

    def mean_score() -> float:
        vectors = embeddings.items[sampler.memory]
        return float((embeddings.users[:, None] * vectors).sum(2).mean())

    sampler.start_epoch(0, embeddings)
    sampler.sample(*batch, embeddings, rng)
    first, score = sampler.memory.clone(), mean_score()
    sampler.sample(*batch, embeddings, rng)
    assert torch.equal(sampler.memory, first)
    for epoch in range(1, 5):
        sampler.start_epoch(epoch, embeddings)
        sampler.sample(*batch, embeddings, rng)
    assert mean_score() > score
    everyone = torch.arange(N_USERS)[:, None]
    assert not make_dataset().train.contains(everyone, sampler.memory).any()


def test_layers_are_pooled_as_the_model_pools_them() -> None:
    layers = torch.stack([torch.ones(2, 3), 3 * torch.ones(2, 3)])
    torch.testing.assert_close(pool(layers, 3), 2 * torch.ones(2, 3))
    assert pool(layers, 6).shape == (2, 6)
