"""Metrics against ranx, an independent implementation."""

import numpy as np
import pytest

from hnlmrec.evaluation.metrics import METRICS

pytestmark = pytest.mark.parity


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("recall", "recall"), ("precision", "precision"), ("hit_rate", "hit_rate"), ("mrr", "mrr"), ("ndcg", "ndcg")],
)
def test_means_are_those_of_ranx(name, theirs, k):
    ranx = pytest.importorskip("ranx")
    rng = np.random.default_rng(k)
    lists = [rng.permutation(60)[:20] for _ in range(50)]
    relevant = [set(rng.permutation(60)[: rng.integers(1, 30)].tolist()) for _ in lists]
    hits = np.array([[item in found for item in ranked] for ranked, found in zip(lists, relevant, strict=True)])
    ours = METRICS[name].per_user(hits, np.array([len(found) for found in relevant]), k).mean()
    qrels = ranx.Qrels({f"q{n}": {f"d{item}": 1 for item in found} for n, found in enumerate(relevant)})
    run = ranx.Run(
        {f"q{n}": {f"d{item}": 20.0 - r for r, item in enumerate(ranked)} for n, ranked in enumerate(lists)}
    )
    assert ours == pytest.approx(ranx.evaluate(qrels, run, f"{theirs}@{k}"))
