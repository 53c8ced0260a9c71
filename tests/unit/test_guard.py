"""A guard lowers the scores of candidates by their risk of being false negatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.judging_world import (
    N_ITEMS,
    N_USERS,
    grouped_dataset,
    item_texts,
    some_judgements,
)
from torch import Tensor

from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError
from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS, SamplerResources
from hnlmrec.negative_sampling.candidates import CandidateConfig
from hnlmrec.negative_sampling.risk import Guard


def lowered_by(penalty: float, scores: Tensor, judged: JudgementTable) -> Tensor:
    candidates = torch.tensor([[[4, 5, 7]], [[9, 4, 59]]])
    return Guard(judged, N_USERS, N_ITEMS, penalty).lower(torch.tensor([0, 1]), candidates, scores)


def test_a_guard_takes_spreads_of_the_scores_for_each_doubling_of_the_risk() -> None:
    scores = torch.tensor([[[1.0, 2.0, 6.0]], [[0.0, 0.0, 3.0]]])
    lost = scores - lowered_by(0.5, scores, some_judgements())
    spread = scores.flatten(1).numpy().std(axis=1)
    median = np.median(some_judgements().probabilities)
    expected = [np.log2(1 + 0.9 / median), np.log2(1 + 0.2 / median), 0.0], [np.log2(1 + 0.5 / median), 0.0, 0.0]
    np.testing.assert_allclose(lost.squeeze(1), 0.5 * spread[:, None] * np.array(expected), rtol=1e-5)


def test_a_guard_neither_wears_off_nor_asks_for_other_penalties_in_sparser_data() -> None:
    scores = torch.tensor([[[1.0, 2.0, 6.0]], [[0.0, 0.0, 3.0]]])
    judged = some_judgements()
    lowered = lowered_by(0.5, scores, judged)
    torch.testing.assert_close(lowered_by(0.5, 10 * scores, judged), 10 * lowered)  # scores grow in training
    sparser = replace(judged, probabilities=judged.probabilities / 100)
    torch.testing.assert_close(lowered_by(0.5, scores, sparser), lowered)


def test_a_guard_finds_the_same_losses_on_a_cpu_and_by_tensor_operations_alone() -> None:
    rng = np.random.default_rng(3)
    keys = np.sort(rng.permutation(N_USERS * N_ITEMS)[:500])
    chances = rng.random(500).astype(np.float32)
    guard = Guard(JudgementTable(keys // N_ITEMS, keys % N_ITEMS, chances, chances), N_USERS, N_ITEMS, 1.0)
    users = torch.arange(N_USERS)
    wanted = users[:, None] * N_ITEMS + torch.arange(N_ITEMS)
    torch.testing.assert_close(guard._in_each_list(users, wanted), guard.at_any_device(wanted))


def test_a_guard_without_risk_changes_nothing() -> None:
    scores = torch.tensor([[[1.0, 2.0, 6.0]], [[0.0, 0.0, 3.0]]])
    nothing = JudgementTable(*(np.zeros(0, dtype=t) for t in (np.int64, np.int64, np.float32, np.float32)))
    harmless = replace(some_judgements(), probabilities=np.zeros(len(some_judgements()), dtype=np.float32))
    for judged in (nothing, harmless):
        torch.testing.assert_close(lowered_by(0.5, scores, judged), scores)


guarded = [name for name, sampler in SAMPLERS.items() if issubclass(sampler.Config, CandidateConfig)]


@pytest.mark.parametrize("name", guarded)
def test_a_guard_keeps_risky_candidates_out(name: str) -> None:
    data = grouped_dataset()
    rng = np.random.default_rng(2)
    risky = np.arange(0, N_ITEMS, 2)
    users, items = (a.ravel() for a in np.meshgrid(np.arange(N_USERS), risky, indexing="ij"))
    free = ~data.train.contains(users, items)
    users, items = users[free], items[free]
    ones = np.ones(len(users), dtype=np.float32)
    table = JudgementTable(users, items, ones, ones)
    embeddings = Embeddings(
        *(torch.from_numpy(rng.standard_normal((n, 8)).astype(np.float32)) for n in (N_USERS, N_ITEMS))
    )
    batch = torch.arange(N_USERS)
    resources = SamplerResources(data, item_vectors=item_texts(data).vectors, embedding_size=8)
    shares = []
    for penalty in (0.0, 1e4):
        config = SAMPLERS[name].Config(
            n_candidates=16, risk_penalty=penalty, **({"n_top": 1} if name == "dns_mn" else {})
        )
        sampler = SAMPLERS[name].build(replace(resources, judgements=table), config)
        drawn = sampler.sample(batch, torch.zeros_like(batch), embeddings, torch.Generator().manual_seed(0))
        assert drawn.items is not None
        shares.append((drawn.items % 2 == 0).float().mean())
    assert shares[0] > 0.3
    assert shares[1] < 0.01
    with pytest.raises(ConfigError, match="judgements"):
        SAMPLERS[name].build(resources, config)
