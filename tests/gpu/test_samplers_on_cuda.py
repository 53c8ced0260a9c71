"""On a CUDA device: every sampler keeps its promises there, and the same random numbers give the same items."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from tests.conformance.test_samplers import DATASET, N_ITEMS, SIZE, make, make_batch, make_embeddings

from hnlmrec.models.base import Embeddings
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.candidates import UniformCandidates
from hnlmrec.negative_sampling.scoring import candidate_scores

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def on_cuda(embeddings: Embeddings) -> Embeddings:
    layers = (tuple(layer.cuda() for layer in part) for part in (embeddings.user_layers, embeddings.item_layers))
    return Embeddings(embeddings.users.cuda(), embeddings.items.cuda(), *layers)


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_stay_on_the_device_and_outside_the_train_items(name: str, tmp_path: Path) -> None:
    users, items = (~DATASET.train.to_scipy().toarray().astype(bool)).nonzero()
    path = tmp_path / "negatives.parquet"
    pl.DataFrame({"user_id": DATASET.users.ids(users), "item_id": DATASET.items.ids(items)}).write_parquet(path)
    sampler = make(name, 3, str(path)).cuda()
    embeddings = on_cuda(make_embeddings()[0])
    batch = tuple(part.cuda() for part in make_batch())
    rng = torch.Generator("cuda").manual_seed(0)
    drawn = sampler.sample(*batch, embeddings, rng)
    assert drawn.items.is_cuda
    assert drawn.embeddings(embeddings).shape == (len(batch[0]), 3, SIZE)
    assert drawn.items.min() >= 0
    assert drawn.items.max() < N_ITEMS
    assert not DATASET.train.contains(batch[0].cpu()[:, None], drawn.items.cpu()).any()
    loss = sampler.auxiliary_loss(*batch, drawn, embeddings)
    assert loss is None or loss.isfinite()


def test_the_same_places_are_the_same_items() -> None:
    candidates = UniformCandidates(DATASET.train)
    users = torch.arange(DATASET.n_users)
    places = torch.rand((DATASET.n_users, 50), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = candidates.at(users, places)
    assert torch.equal(candidates.cuda().at(users.cuda(), places.cuda()).cpu(), expected)


def test_scores_equal_the_cpu() -> None:
    embeddings, _ = make_embeddings()
    candidates = torch.arange(N_ITEMS).expand(DATASET.n_users, -1)
    tables = embeddings.users.detach(), embeddings.items.detach()
    there = candidate_scores(*(table.cuda() for table in tables), candidates.cuda()).cpu()
    torch.testing.assert_close(there, candidate_scores(*tables, candidates), rtol=1e-4, atol=1e-5)
