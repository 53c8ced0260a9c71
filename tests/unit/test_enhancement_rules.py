"""The rule of each LLM-enhanced baseline, where it can be told from the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.planted import checkerboard, separation

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.errors import ConfigError, DataError, MissingFileError, UnknownIdError
from hnlmrec.models import MODELS
from hnlmrec.models.base import Batch, CFModel, Embeddings
from hnlmrec.models.enhancements.kar import KAR, KARConfig
from hnlmrec.models.enhancements.llmrec import LLMRec, LLMRecConfig
from hnlmrec.models.enhancements.rlmrec import (
    RLMRecCon,
    RLMRecConfig,
    RLMRecGen,
    RLMRecGenConfig,
    first_places,
)
from hnlmrec.negative_sampling import SAMPLERS, SamplerResources, build_sampler
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import Trainer, TrainingConfig

N_USERS, N_ITEMS = 6, 10


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_dataset() -> InteractionDataset:
    """User 5 has no train item; item 9 is nobody's."""
    train = Interactions.from_pairs([0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], N_USERS, N_ITEMS)
    empty = Interactions.from_pairs([], [], N_USERS, N_ITEMS)
    users, items = (Vocabulary([f"{k[0]}{n}" for n in range(size)], k) for k, size in (("user", 6), ("item", 10)))
    return InteractionDataset(users, items, train, empty, empty)


def backbone(dataset: InteractionDataset, name: str = "mf", size: int = 8) -> CFModel:
    return MODELS[name](dataset, MODELS[name].Config(embedding_size=size), generator=generator())


def loss_of(model: Any, batch: Batch) -> float:
    with torch.no_grad():
        return float(model.own_loss(batch))


def colour_texts(dataset: InteractionDataset) -> NodeTexts:
    rng = np.random.default_rng(1)
    items = np.eye(2, 6)[np.arange(dataset.n_items) % 2] + 0.1 * rng.standard_normal((dataset.n_items, 6))
    return NodeTexts.of(items, None, dataset.train)


def train(model: Any, dataset: InteractionDataset, epochs: int = 60, **options: Any) -> Embeddings:
    config = TrainingConfig(epochs=epochs, batch_size=256, learning_rate=0.02, device="cpu", **options)
    sampler = UniformSampler(dataset, UniformSampler.Config())
    Trainer(model, sampler, config, RandomStreams(0), evaluate=separation(dataset)).fit(dataset)
    model.eval()
    embeddings: Embeddings = model.propagate().detach()
    return embeddings


# Texts of users and items


def test_a_user_without_a_text_stands_at_the_mean_of_its_train_items() -> None:
    items = np.zeros((N_ITEMS, 3))
    items[0], items[1], items[2] = [2, 0, 0], [0, 5, 0], [0, 0, 1]
    users = np.zeros((N_USERS, 3))
    users[1] = [0, 3, 0]
    texts = NodeTexts.of(items, users, small_dataset().train)
    assert texts.users[0] == pytest.approx([2**-0.5, 2**-0.5, 0])  # lengths of texts do not count
    assert texts.users[1] == pytest.approx([0, 1, 0])
    assert not texts.users[2:].any()
    assert texts.items[:3] == pytest.approx(np.eye(3))
    assert texts.counts() == {
        "users_at_mean_of_items": 1,
        "users_without_text_vector": 4,
        "items_without_text_vector": 7,
    }


def test_texts_that_do_not_fit_are_refused() -> None:
    train = small_dataset().train
    with pytest.raises(DataError, match="no item has a text vector"):
        NodeTexts.of(np.zeros((N_ITEMS, 3)), None, train)
    with pytest.raises(DataError, match="items 3, users 4"):
        NodeTexts.of(np.ones((N_ITEMS, 3)), np.ones((N_USERS, 4)), train)


def test_texts_are_found_by_id(tmp_path: Path) -> None:
    dataset = small_dataset()
    vectors = np.eye(12, dtype=np.float16)
    EmbeddingTable(Vocabulary(list(dataset.items.all_ids)[::-1]), vectors[:10]).save(tmp_path, "items")
    EmbeddingTable(Vocabulary(["u3", "other"]), vectors[10:]).save(tmp_path, "users")
    texts = NodeTexts.load(tmp_path, dataset)
    assert (texts.items.argmax(axis=1) == np.arange(10)[::-1]).all()
    assert texts.users[3].argmax() == 10
    assert texts.users[2].argmax() == 6  # its train item 3
    with pytest.raises(MissingFileError):
        NodeTexts.load(tmp_path / "elsewhere", dataset)


# RLMRec


def test_the_contrast_draws_vectors_to_their_texts() -> None:
    dataset = checkerboard()
    rng = np.random.default_rng(0)
    texts = NodeTexts.of(rng.standard_normal((30, 16)), rng.standard_normal((40, 16)), dataset.train)
    ranks = []
    for weight in (0.0, 1.0):
        model = RLMRecCon(backbone(dataset, size=16), RLMRecConfig(weight=weight), texts, generator=generator())
        users = train(model, dataset).users
        projected = model.perceptron(torch.from_numpy(texts.users))
        cosines = torch.nn.functional.cosine_similarity(users[:, None], projected[None], dim=2).detach()
        ranks.append(float((cosines.argmax(dim=1) == torch.arange(40)).float().mean()))
    assert ranks[0] < 0.2
    assert ranks[1] > 0.8


def test_who_has_no_text_and_who_occurs_twice_counts_for_nothing() -> None:
    dataset = small_dataset()
    items = np.random.default_rng(0).standard_normal((N_ITEMS, 4))
    items[[1, 3]] = 0
    texts = NodeTexts.of(items, None, dataset.train)  # user 2 has item 3 alone, so no text either
    model = RLMRecCon(backbone(dataset), RLMRecConfig(weight=1.0), texts, generator=generator())
    full = Batch(torch.tensor([0, 0, 1, 2, 3, 4]), torch.tensor([0, 1, 2, 3, 4, 5]))
    short = Batch(torch.tensor([0, 1, 3, 4]), torch.tensor([0, 2, 4, 5]))
    assert loss_of(model, full) == pytest.approx(loss_of(model, short))
    nothing = Batch(torch.tensor([2]), torch.tensor([3]))
    assert loss_of(model, nothing) == 0
    assert first_places(torch.tensor([5, 2, 5, 9, 2])).tolist() == [0, 1, 3]


def test_no_more_rows_than_allowed_are_contrasted() -> None:
    dataset = small_dataset()
    texts = NodeTexts.of(np.random.default_rng(0).standard_normal((N_ITEMS, 4)), None, dataset.train)
    model = RLMRecCon(backbone(dataset), RLMRecConfig(contrast_rows=2), texts, generator=generator())
    full = Batch(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 3, 4]))
    short = Batch(torch.tensor([0, 1]), torch.tensor([0, 2]))
    assert loss_of(model, full) == pytest.approx(loss_of(model, short))


def test_masks_cover_their_share_while_training_and_nobody_else() -> None:
    dataset = checkerboard(400, 300)
    config = RLMRecGenConfig(mask_ratio=0.25)
    model = RLMRecGen(backbone(dataset, "lightgcn"), config, colour_texts(dataset), generator=generator())
    users, items = model.train().layer_zero() or ((), ())
    masked = (users == model.mask_vector).all(dim=1)
    assert 0.18 < masked.float().mean() < 0.32
    assert torch.equal(users[~masked], model.backbone.user_embedding[~masked])
    again, _ = model.layer_zero() or ((), ())
    assert not torch.equal(users, again)
    assert len(items) == 300
    assert model.eval().layer_zero() is None


def test_a_masked_user_is_known_by_its_neighbours() -> None:
    dataset = checkerboard()
    config = RLMRecGenConfig(weight=1.0, mask_ratio=0.3)
    model = RLMRecGen(backbone(dataset, "lightgcn"), config, colour_texts(dataset), generator=generator())
    batch = Batch(torch.arange(40), torch.arange(40) % 30)

    def reconstruction() -> float:
        model.train()
        with torch.no_grad():
            draws = []
            for _ in range(20):
                model.rows(batch.users, batch.positives)
                draws.append(float(model.own_loss(batch)))
        return float(np.mean(draws))

    before = reconstruction()
    train(model, dataset, epochs=30)
    assert reconstruction() < 0.8 * before


def test_masks_need_a_graph() -> None:
    dataset = small_dataset()
    texts = NodeTexts.of(np.ones((N_ITEMS, 4)), None, dataset.train)
    with pytest.raises(ConfigError, match=r"MF has none: choose a graph model \(lightgcn"):
        RLMRecGen(backbone(dataset), RLMRecGenConfig(), texts, generator=generator())


# KAR


def test_an_item_that_nobody_chose_is_recommended_by_its_text() -> None:
    whole = checkerboard()
    warm = whole.train.indices < 28
    train_pairs = Interactions.from_pairs(whole.train.users[warm], whole.train.indices[warm], 40, 30)
    dataset = InteractionDataset(whole.users, whole.items, train_pairs, whole.valid, whole.test)
    model = KAR(backbone(dataset), KARConfig(), colour_texts(dataset), generator=generator())
    result = train(model, dataset)
    cold = result.users @ result.items[28:].T  # [40, 2], one item of each colour
    assert (cold.argmax(dim=1) == torch.arange(40) % 2).float().mean() > 0.9


def test_nothing_is_added_where_there_is_no_text() -> None:
    dataset = small_dataset()
    items = np.random.default_rng(0).standard_normal((N_ITEMS, 4))
    items[1] = 0
    model = KAR(
        backbone(dataset),
        KARConfig(n_shared=1, n_dedicated=3),
        NodeTexts.of(items, None, dataset.train),
        generator=generator(),
    )
    added = model.layer_zero()[1] - model.backbone.item_embedding
    assert (added.abs().sum(dim=1) > 0).tolist() == [n != 1 for n in range(N_ITEMS)]
    assert torch.equal(model.layer_zero()[0][5], model.backbone.user_embedding[5])


# LLMRec


def test_preferences_teach_what_the_interactions_do_not() -> None:
    dataset = checkerboard()
    odd_items = np.tile(np.arange(20) * 2 % 30 + 1, 2)  # everybody is said to like odd items, and no even ones
    table = PreferenceTable(np.repeat(np.arange(0, 40, 2), 2), odd_items, odd_items - 1)
    gaps = []
    for share in (0.01, 3.0):
        model = LLMRec(backbone(dataset), LLMRecConfig(share=share, pruned=0.0), table)
        result = train(model, dataset, 20)
        scores = result.users[::2] @ result.items.T
        gaps.append(float((scores[:, 1::2] - scores[:, ::2]).mean()))
    assert gaps[1] > gaps[0]


def test_the_pairs_with_the_largest_loss_are_pruned() -> None:
    dataset = small_dataset()
    items = torch.zeros(N_ITEMS, 1)
    items[:4, 0] = torch.tensor([4.0, 1.0, -1.0, 0.0])
    initial = torch.ones(N_USERS, 1), items
    kind = MODELS["mf"]
    model = kind(dataset, kind.Config(embedding_size=1), generator=generator(), initial=initial)
    table = PreferenceTable(np.array([1, 1, 3]), np.array([0, 1, 2]), np.array([3, 3, 3]))
    batch = Batch(torch.zeros(30, dtype=torch.int64), torch.zeros(30, dtype=torch.int64))
    losses = []
    for pruned in (0.0, 0.9):
        enhancement = LLMRec(model, LLMRecConfig(share=1.0, pruned=pruned), table)
        model.generator.manual_seed(0)
        losses.append(loss_of(enhancement, batch))
    least = float(torch.nn.functional.softplus(torch.tensor(-4.0)))
    assert losses[1] == pytest.approx(3 * least / 30)  # 3 of 30 kept, all of the surest kind
    assert losses[0] > 10 * losses[1]


def test_the_batch_is_as_it_would_be_without_extra_pairs() -> None:
    dataset = checkerboard()
    table = PreferenceTable(np.array([1]), np.array([0]), np.array([2]))
    model = LLMRec(backbone(dataset, "lightgcn"), LLMRecConfig(share=2.0), table)
    users, items = torch.arange(9), torch.arange(20)
    plain = model.backbone.rows(users, items)
    for rows in (model.rows(users, items), model.take(model.propagate(), users, items)):
        for left, right in zip(vars(rows).values(), vars(plain).values(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_a_table_of_preferences_survives_the_disk_and_refuses_what_it_cannot_mean(tmp_path: Path) -> None:
    dataset = small_dataset()
    table = PreferenceTable(np.array([0, 5]), np.array([9, 0]), np.array([8, 1]))
    table.save(tmp_path, dataset)
    loaded = PreferenceTable.load(tmp_path, dataset)
    assert [loaded.users.tolist(), loaded.liked.tolist(), loaded.disliked.tolist()] == [[0, 5], [9, 0], [8, 1]]
    PreferenceTable(np.array([0]), np.array([9]), np.array([1])).save(tmp_path, dataset)
    with pytest.raises(DataError, match="1 preferences name an item of the user's train split"):
        PreferenceTable.load(tmp_path, dataset)
    with pytest.raises(DataError, match="two different items"):
        PreferenceTable(np.array([0]), np.array([9]), np.array([9]))
    with pytest.raises(DataError, match="each row"):
        PreferenceTable(np.array([0]), np.array([9, 8]), np.array([7]))
    (tmp_path / "preferences.parquet").unlink()
    with pytest.raises(MissingFileError):
        PreferenceTable.load(tmp_path, dataset)
    stranger = InteractionDataset(
        Vocabulary([f"x{n}" for n in range(N_USERS)]), dataset.items, dataset.train, dataset.valid, dataset.test
    )
    table.save(tmp_path, stranger)
    with pytest.raises(UnknownIdError):
        PreferenceTable.load(tmp_path, dataset)


def test_an_empty_table_teaches_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(ConfigError, match="the table is empty"):
        LLMRec(backbone(small_dataset()), LLMRecConfig(), PreferenceTable(nothing, nothing, nothing))


# LLMHNI's rule


def draw(name: str, items: np.ndarray[Any, Any], **options: Any) -> list[int]:
    dataset = small_dataset()
    config = SAMPLERS[name].Config(n_candidates=200, n_negatives=2, **options)
    sampler = build_sampler(name, config, SamplerResources(dataset, item_vectors=items))
    scores = torch.arange(10.0)[:, None]  # item 9 is the hardest
    drawn = sampler.sample(
        torch.tensor([0]), torch.tensor([0]), Embeddings(torch.ones(6, 1), scores), generator()
    ).items
    assert drawn is not None
    return drawn[0].tolist()


def test_the_hardest_item_is_taken_unless_its_text_is_near() -> None:
    items = np.zeros((N_ITEMS, 3))
    items[[0, 1, 8, 9]] = [7, 0, 0]  # the user's items 0 and 1, and the two hardest
    items[7] = [-1, 0, 0]
    items[6] = [0, 2, 0]
    assert draw("dns", items) == draw("llmhni", items, semantic_weight=0.0) == [9, 9]
    assert draw("llmhni", items, semantic_weight=0.5) == [9, 9]
    assert draw("llmhni", items, semantic_weight=1.5) == [7, 7]  # 9 - 1.5 < 7 + 1.5
    assert draw("llmhni", np.zeros((N_ITEMS, 3)), semantic_weight=9.0) == [9, 9]


def test_the_rule_needs_a_text_vector_for_each_item() -> None:
    with pytest.raises(ConfigError, match="'llmhni' needs item vectors"):
        build_sampler("llmhni", SAMPLERS["llmhni"].Config(), SamplerResources(small_dataset()))
    with pytest.raises(DataError, match="3 item text vectors for 10 items"):
        draw("llmhni", np.ones((3, 3)))
