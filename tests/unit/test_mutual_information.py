"""The InfoNCE bound, on Gaussian pairs whose mutual information is known."""

import numpy as np
import pytest

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import Vocabulary
from hnlmrec.errors import DataError
from hnlmrec.evaluation.mutual_information import InformationConfig, mutual_information_bounds
from hnlmrec.rng import RandomStreams

QUICK = InformationConfig(ks=(8, 64), rank=4, steps=120, rounds=3)


def table(vectors, names=None):
    ids = [f"n{number}" for number in range(len(vectors))] if names is None else names
    return EmbeddingTable(Vocabulary(ids), vectors.astype(np.float32))


def gaussian_pairs(information, n=1200, size=4, seed=0):
    """Return X and Y with that mutual information in nats: -size/2 log(1 - rho²), Y behind a random linear map."""
    rho = np.sqrt(1 - np.exp(-2 * information / size))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, size))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(n, size))
    return x, y @ rng.normal(size=(size, size + 2))


def bounds(x, y, config=QUICK):
    return mutual_information_bounds(table(x), table(y), config, RandomStreams(0))


@pytest.mark.parametrize(("information", "critic"), [(0.5, "linear"), (1.5, "linear"), (1.5, "mlp")])
def test_a_small_mutual_information_is_nearly_reached_from_below(information, critic):
    small, large = bounds(*gaussian_pairs(information), config=QUICK.model_copy(update={"critic": critic}))
    assert small.bound < large.bound
    assert 0.75 * information < large.bound < information + 0.1
    assert large.interval[0] < large.bound < large.interval[1]
    assert abs(large.control) < 0.08


def test_a_large_one_is_capped_by_the_logarithm_of_k():
    for found in bounds(*gaussian_pairs(9.0)):
        assert found.cap == pytest.approx(np.log(found.k))
        assert 0.8 * found.cap < found.bound <= found.cap


def test_independent_pairs_have_none():
    x, _ = gaussian_pairs(1.0, seed=1)
    _, y = gaussian_pairs(1.0, seed=2)
    for found in bounds(x, y):
        assert -0.15 < found.bound < 0.05
        assert -0.15 < found.control < 0.05


def test_rows_are_paired_by_id_and_not_by_place():
    x, y = gaussian_pairs(1.5)
    order = np.random.default_rng(3).permutation(len(y))
    names = [f"n{number}" for number in order]
    direct = bounds(x, y)
    again = mutual_information_bounds(table(x), table(y[order], names), QUICK, RandomStreams(0))
    assert again == direct
    misplaced = mutual_information_bounds(table(x), table(y[order]), QUICK, RandomStreams(0))
    assert misplaced[1].bound < 0.1
    assert direct[1].bound > 1


def test_too_few_common_ids_are_refused():
    x, y = gaussian_pairs(1.0, n=100)
    with pytest.raises(DataError, match=r"100 ids in common.* at least 128"):
        bounds(x, y)


@pytest.mark.parametrize(("value", "match"), [(np.nan, "not finite"), (0.0, "all alike")])
def test_vectors_that_say_nothing_are_refused(value, match):
    x, y = gaussian_pairs(1.0, n=200)
    with pytest.raises(DataError, match=match):
        bounds(x, np.full_like(y, value))
