"""The projector, semantic initialisation, the alignment objectives and the mixing schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from hnlmrec.alignment import (
    AlignmentConfig,
    SemanticProjector,
    alignment_loss,
    mixing_weight,
    semantic_initialisation,
)
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import DataError

RNG = np.random.default_rng(0)
TEXTS = (RNG.standard_normal((60, 12)) * np.linspace(2, 0.2, 12) + 5).astype(np.float32)
KINDS = ["pca", "linear", "mlp", "attention"]


def make(kind: str = "linear", size: int = 5, texts: np.ndarray = TEXTS, **fields: object) -> SemanticProjector:
    config = AlignmentConfig(projector=kind, **fields)  # type: ignore[arg-type]
    return SemanticProjector(texts, size, config, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_from_the_principal_components(kind: str) -> None:
    centred = TEXTS - TEXTS.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:5]
    expected = np.abs(centred @ directions.T)
    expected *= 0.1 / (centred @ directions.T).std()
    got = make(kind)(torch.from_numpy(TEXTS)).detach().numpy()
    np.testing.assert_allclose(np.abs(got), expected, atol=0.02)  # an eigenvector has no sign
    assert got.std() == pytest.approx(0.1, abs=0.005)
    assert got.min() < 0 < got.max()


def test_whitening_gives_all_components_one_variance() -> None:
    got = make("pca", whiten=True)(torch.from_numpy(TEXTS)).detach().numpy()
    np.testing.assert_allclose(got.std(axis=0), 0.1, rtol=0.02)


def test_items_without_text_take_no_part_in_the_fit() -> None:
    with_gaps = np.vstack([TEXTS, np.zeros((30, 12), np.float32)])
    torch.testing.assert_close(make(texts=with_gaps).weight, make().weight)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_are_all_alike_are_refused(kind: str) -> None:
    for texts in (np.zeros((4, 12), np.float32), np.ones((4, 12), np.float32)):
        with pytest.raises(DataError, match=r"length 12\) are all alike"):
            make(kind, texts=texts)


@pytest.mark.parametrize("kind", KINDS)
def test_dimensions_that_the_texts_do_not_span_start_from_random_values(kind: str) -> None:
    texts, train = TEXTS[:10], Interactions.from_pairs([0, 1], [0, 1], 3, 10)  # these span nine
    spanned = semantic_initialisation(texts, make(kind, 9, texts), train, generator=torch.Generator())
    wider = semantic_initialisation(texts, make(kind, 64, texts), train, generator=torch.Generator())
    again = semantic_initialisation(texts, make(kind, 64, texts), train, generator=torch.Generator())
    for plain, table, same in zip(spanned, wider, again, strict=True):
        torch.testing.assert_close(table, same)
        cosines = functional.cosine_similarity(table[:, :9].flatten(), plain.flatten(), dim=0)
        assert cosines > 0.99  # as with nine dimensions, but for the scale
        bound = (6 / (len(table) + 64)) ** 0.5
        assert table[:, 9:].abs().max() <= bound
        assert table[:, 9:].std() == pytest.approx(bound / 3**0.5, rel=0.2)
    assert not torch.equal(wider[0], spanned[0])


def test_what_the_texts_do_not_span_is_left_to_alignment() -> None:
    projector = make(size=20)
    texts = torch.from_numpy(TEXTS)
    points = projector(texts)
    assert points[:, :12].detach().std().item() == pytest.approx(0.1 * (20 / 12) ** 0.5, rel=0.01)
    assert not points[:, 12:].any()
    target = torch.randn(len(TEXTS), 20, generator=torch.Generator().manual_seed(1))
    (1 - functional.cosine_similarity(points, target)).mean().backward()
    assert projector.weight.grad is not None
    assert (projector.weight.grad[12:].abs().sum(dim=1) > 0).all()


def test_vectors_that_are_not_finite_are_refused() -> None:
    texts = TEXTS.copy()
    texts[3, 4] = np.nan
    with pytest.raises(DataError, match="not finite"):
        make(texts=texts)


@pytest.mark.parametrize("kind", ["linear", "mlp", "attention"])
@pytest.mark.parametrize("objective", ["cosine", "mse", "contrastive"])
def test_the_objective_brings_the_projection_to_its_target(kind: str, objective: str) -> None:
    projector = make(kind, objective=objective, hidden_size=16)
    text = torch.from_numpy(TEXTS[:32])
    target = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    target = (text - text.mean(0)) @ target
    shape = (8, 4) if kind == "attention" else (32,)
    text, target = text.view(*shape, 12), target.view(*shape, 5)
    first = alignment_loss(projector, text, target)
    optimiser = torch.optim.Adam(projector.parameters(), lr=0.02)
    for _ in range(40):
        loss = alignment_loss(projector, text, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.8 * first
    assert all(parameter.grad.abs().max() > 0 for parameter in projector.parameters())


@pytest.mark.parametrize("objective", ["cosine", "mse", "contrastive"])
def test_items_without_text_count_for_nothing(objective: str) -> None:
    projector = make(objective=objective)
    text, target = torch.from_numpy(TEXTS[:6]), torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    items = torch.tensor([4, 7, -1, 9, -1, 2])
    known = items >= 0
    torch.testing.assert_close(
        alignment_loss(projector, text, target, items),
        alignment_loss(projector, text[known], target[known], items[known]),
    )
    assert alignment_loss(projector, text, target, torch.full((6,), -1)) == 0


def test_an_item_is_not_its_own_negative() -> None:
    projector = make(objective="contrastive")
    text, target = torch.from_numpy(TEXTS[[0, 0]]), torch.randn(2, 5)[[0, 0]]
    assert alignment_loss(projector, text, target, torch.tensor([3, 3])) == 0
    assert alignment_loss(projector, text, target) > 0.5


def test_attention_looks_at_real_members_only() -> None:
    projector = make("attention")
    sets = torch.from_numpy(TEXTS[:3])[None]
    changed = sets.clone()
    changed[0, 2] += 10
    found = torch.tensor([[True, True, False]])
    torch.testing.assert_close(projector(sets, found)[0, :2], projector(changed, found)[0, :2])
    assert not torch.allclose(projector(sets)[0, :2], projector(changed)[0, :2], atol=1e-7, rtol=0)
    assert projector(sets, torch.zeros(1, 3, dtype=torch.bool)).isfinite().all()


def test_semantic_initialisation_of_items_users_and_gaps() -> None:
    texts = TEXTS[:20].copy()
    texts[3] = texts[4] = texts[5] = 0  # 3 was seen by users 0 and 1, 4 by user 3 alone, 5 by nobody
    train = Interactions.from_pairs([0, 0, 0, 1, 1, 3], [0, 1, 3, 2, 3, 4], 4, 20)
    projector = make(texts=texts)
    users, items = semantic_initialisation(texts, projector, train, generator=torch.Generator())
    points = projector(torch.from_numpy(texts)).detach()
    mean_of = torch.stack([points[[0, 1]].mean(0), points[2], torch.zeros(5), torch.zeros(5)])
    torch.testing.assert_close(users, mean_of * (users[0, 0] / mean_of[0, 0]))
    scale = items[0, 0] / points[0, 0]
    torch.testing.assert_close(items[[0, 1, 2, 9]], points[[0, 1, 2, 9]] * scale)
    torch.testing.assert_close(items[3], mean_of[:2].mean(0) * scale)
    assert not items[[4, 5]].any()
    assert users.std(correction=0) == pytest.approx(0.1)
    assert items.std(correction=0) == pytest.approx(0.1)


def test_mixing_schedules() -> None:
    rng = torch.Generator().manual_seed(0)

    def weight(schedule: str, epoch: int, alpha: float = 0.2) -> torch.Tensor:
        return mixing_weight(schedule, alpha, epoch=epoch, warmup_epochs=10, shape=(20_000,), rng=rng)  # type: ignore[arg-type]

    assert (weight("constant", 0) == 0.2).all()
    assert weight("linear", 0)[0] == pytest.approx(0.02)
    assert weight("linear", 50)[0] == pytest.approx(0.2)
    drawn = weight("beta", 0)
    assert drawn.mean() == pytest.approx(0.2, abs=0.01)
    assert drawn.std() > 0.1
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (weight("beta", 0, alpha=1.0) == 1).all()
