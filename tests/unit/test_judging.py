"""Judges: what they are fitted on, whether they find what is planted, and what each evidence says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tests.unit.judging_world import (
    N_GROUPS,
    N_ITEMS,
    N_USERS,
    dataset,
    grouped_dataset,
    item_texts,
)

from hnlmrec.artifacts import write_json
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import DataError
from hnlmrec.judging import (
    DotEvidence,
    Judge,
    JudgeConfig,
    PopularityEvidence,
    RecommenderEvidence,
    TextEvidence,
    hold_out_of_train,
)
from hnlmrec.models.ease import EASE
from hnlmrec.reporting.audit.calibration import read_calibration
from hnlmrec.rng import RandomStreams


def fitted_judge(data: InteractionDataset) -> tuple[Judge, list[float]]:
    config = JudgeConfig(regularization=5.0, hard_candidates=20, uniform_candidates=20, top=10, chunk_size=50)
    judge = Judge(config, [RecommenderEvidence("ease", EASE(config)), TextEvidence(item_texts(data), 3.0, 1.0)])
    inner = hold_out_of_train(data, 0.2, np.random.default_rng(3))
    reports = judge.fit(inner, RandomStreams(3))
    assert [report.name for report in reports] == ["ease_text", "ease alone", "text alone"]
    return judge, [report.auc_uniform for report in reports]


def test_text_evidence_of_a_large_catalogue_is_the_same() -> None:
    data, users = grouped_dataset(), np.array([5, 0, 119])
    kept, made = (TextEvidence(item_texts(data), 3.0, memory_limit_gib=gib) for gib in (1.0, 0.0))
    for evidence in (kept, made):
        evidence.fit(data)
    np.testing.assert_allclose(made.scores(users), kept.scores(users), rtol=1e-5)


class WrongEvidence:
    """Ranks the held-out positives last, so that none of them is among the hard pairs."""

    name = "wrong"

    def fit(self, dataset: InteractionDataset) -> None:
        if len(dataset.valid):
            self.held_out = dataset.valid.to_scipy().toarray()

    def scores(self, users: np.ndarray) -> np.ndarray:
        return -self.held_out[users].astype(np.float32)


def test_what_could_not_be_measured_is_none_and_the_audit_reads_it(tmp_path: Path) -> None:
    config = JudgeConfig(hard_candidates=5, uniform_candidates=20, chunk_size=50)
    inner = hold_out_of_train(grouped_dataset(), 0.2, np.random.default_rng(3))
    reports = Judge(config, [WrongEvidence()]).fit(inner, RandomStreams(3))
    assert [report.auc_hard for report in reports] == [None, None]
    assert [report.recall for report in reports] == [1, 0]  # the judge turns the evidence round
    write_json(tmp_path / "calibration.json", {"judges": [asdict(report) for report in reports]})
    assert [judge.auc_hard for judge in read_calibration(tmp_path)] == [None, None]


def test_the_chunks_of_a_large_catalogue_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = grouped_dataset()
    whole, areas = fitted_judge(data)
    monkeypatch.setattr("hnlmrec.judging.judge._VALUES", 7 * 2 * N_ITEMS)  # seven users at once
    small, areas_in_chunks = fitted_judge(data)
    assert areas_in_chunks == pytest.approx(areas)
    tables = whole.judge(data), small.judge(data)
    np.testing.assert_array_equal(*(table.items for table in tables))
    np.testing.assert_allclose(*(table.probabilities for table in tables), rtol=1e-5)


def test_holding_out_splits_train_and_reads_nothing_else() -> None:
    data = grouped_dataset()
    inner = hold_out_of_train(data, 0.2, np.random.default_rng(3))
    assert len(inner.train) + len(inner.valid) == len(data.train)
    assert not inner.train.contains(inner.valid.users, inner.valid.indices).any()
    assert data.train.contains(inner.valid.users, inner.valid.indices).all()
    assert inner.train.degrees.min() >= 1
    assert not len(inner.test)
    assert 0.15 < len(inner.valid) / len(data.train) < 0.25
    poisoned = InteractionDataset(data.users, data.items, data.train, data.test, data.valid)
    again = hold_out_of_train(poisoned, 0.2, np.random.default_rng(3))
    np.testing.assert_array_equal(again.valid.indices, inner.valid.indices)


def test_nothing_to_hold_out_is_an_error() -> None:
    with pytest.raises(DataError, match="two train items"):
        hold_out_of_train(dataset([0, 1], [0, 1]), 0.5, np.random.default_rng(0))


def test_a_judge_finds_the_planted_false_negatives() -> None:
    data = grouped_dataset()
    judge, (auc, *_) = fitted_judge(data)
    assert auc > 0.85
    table = judge.judge(data)
    assert not data.train.contains(table.users, table.items).any()
    same_group = table.users % N_GROUPS == table.items % N_GROUPS
    assert table.probabilities[same_group].mean() > 3 * table.probabilities[~same_group].mean()
    assert np.bincount(table.users, minlength=N_USERS).max() <= 10
    found = JudgementTable(table.users, table.items, table.probabilities, table.scores).best(8)
    hits = np.isin(
        data.test.users.astype(np.int64) * N_ITEMS + data.test.indices, found.users * N_ITEMS + found.items
    )
    assert hits.mean() > 0.9  # 8 of the 8 free items of the user's group; chance is 8 of 53


def judge_of(data: InteractionDataset, fitted_to: str, top: int = 10) -> Judge:
    config = JudgeConfig(
        regularization=5.0, hard_candidates=20, uniform_candidates=20, top=top, chunk_size=50, fitted_to=fitted_to
    )
    return Judge(config, [RecommenderEvidence("ease", EASE(config)), TextEvidence(item_texts(data), 1.0, 1.0)])


@pytest.mark.parametrize(("fitted_to", "columns"), [("catalogue", 2), ("head", 3)])
def test_scores_of_all_items_are_the_weighed_features(fitted_to: str, columns: int) -> None:
    data = grouped_dataset()
    judge = judge_of(data, fitted_to)
    judge.fit(hold_out_of_train(data, 0.2, np.random.default_rng(3)), RandomStreams(3))
    assert len(judge.weights()) == 2 * columns
    degrees = np.arange(N_USERS) + 1
    ((_, evidence),) = judge._chunks(judge.evidence, np.arange(50))
    rows, items = np.indices(evidence[0].shape).reshape(2, -1)
    features = judge._features(evidence, (rows, items), degrees)
    scores = judge._weighed(judge.choice, evidence, degrees[:50])
    np.testing.assert_allclose(scores.ravel(), features @ judge.choice.weights, rtol=1e-4, atol=1e-4)


def test_a_judge_fitted_to_its_head_tells_its_highest_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    data = grouped_dataset()
    inner = hold_out_of_train(data, 0.2, np.random.default_rng(3))
    judges = []
    for rounds in (0, 1):  # the second is fitted to the head that the first chooses
        monkeypatch.setattr("hnlmrec.judging.judge._ROUNDS", rounds)
        judges.append(judge_of(data, "head"))
        judges[-1].fit(inner, RandomStreams(3))
    likelihoods = np.zeros(2)
    users = np.flatnonzero(inner.valid.degrees)
    for chunk, evidence in judges[0]._chunks(judges[0].evidence, users):
        first, second = (judge._weighed(judge.choice, evidence, inner.train.degrees[chunk]) for judge in judges)
        for row, user in enumerate(chunk.tolist()):
            free = np.setdiff1d(np.arange(N_ITEMS), inner.train.of(user))
            head = free[np.argsort(-first[row, free])[:20]]
            positive = np.isin(head, inner.valid.of(user))
            for place, scores in enumerate((first[row, head], second[row, head])):
                likelihoods[place] += (scores - np.logaddexp.reduce(scores))[positive].sum()
    assert likelihoods[1] > likelihoods[0]


@pytest.mark.parametrize("fitted_to", ["catalogue", "head"])
def test_recall_is_that_of_the_list_that_is_judged(fitted_to: str) -> None:
    data = grouped_dataset()
    inner = hold_out_of_train(data, 0.2, np.random.default_rng(3))
    judge = judge_of(data, fitted_to, top=20)
    judge.fit(inner, RandomStreams(3))
    users = np.flatnonzero(inner.valid.degrees)
    recalls = judge._recalls([judge.choice], inner, users)
    table = judge.judge(inner)
    scores = judge.evidence[0].scores(np.arange(N_USERS))
    found = np.zeros((2, len(users)))
    for n, user in enumerate(users.tolist()):
        held = inner.valid.of(user)
        best = np.setdiff1d(np.argsort(-scores[user], kind="stable"), inner.train.of(user), assume_unique=True)[
            :20
        ]
        found[:, n] = [np.isin(held, items).mean() for items in (table.items[table.users == user], best)]
    assert recalls[:2] == pytest.approx(found.mean(axis=1))
    assert judge._recalls([judge.choice], inner, users[:0]) == [None, None, None]


@pytest.mark.parametrize("name", ["behaviour", "ease_text"])
def test_noise_for_what_a_judge_does_not_hear_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hears none"):
        JudgeConfig(name=name, noise=True)  # type: ignore[arg-type]
    assert JudgeConfig(name="tuned_text", noise=True).noise


def test_popularity_is_the_same_for_all_and_of_train_alone() -> None:
    data = grouped_dataset()
    evidence = PopularityEvidence()
    evidence.fit(data)
    scores = evidence.scores(np.array([3, 5]))
    counts = np.bincount(data.train.indices, minlength=N_ITEMS)
    np.testing.assert_allclose(scores, np.log1p(counts)[None].repeat(2, axis=0), rtol=1e-6)


class MiddleEvidence:
    """Ranks the held-out positives between all others, so that no weight puts them among the highest."""

    name = "middle"

    def fit(self, dataset: InteractionDataset) -> None:
        self.others = 1 - dataset.valid.to_scipy().toarray()

    def scores(self, users: np.ndarray) -> np.ndarray:
        return (self.others[users] * np.where(np.arange(N_ITEMS) % 2, 1, -1)).astype(np.float32)


def test_a_head_without_positives_leaves_the_weights_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    config = JudgeConfig(hard_candidates=5, uniform_candidates=20, chunk_size=50, fitted_to="head")
    inner = hold_out_of_train(grouped_dataset(), 0.2, np.random.default_rng(3))
    weights = []
    for rounds in (0, 2):
        monkeypatch.setattr("hnlmrec.judging.judge._ROUNDS", rounds)
        judge = Judge(config, [MiddleEvidence()])
        judge.fit(inner, RandomStreams(3))
        weights.append(judge.weights())
    assert weights[0] == weights[1]


def test_a_judge_never_reads_validation_or_test() -> None:
    data = grouped_dataset()
    rng = np.random.default_rng(5)
    poison = Interactions.from_pairs(
        rng.integers(N_USERS, size=500), rng.integers(N_ITEMS, size=500), N_USERS, N_ITEMS
    )
    poisoned = InteractionDataset(data.users, data.items, data.train, poison, poison)
    one, other = (fitted_judge(d)[0].judge(d) for d in (data, poisoned))
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_what_others_remake_from_all_of_train_takes_the_place_of_its_name() -> None:
    data = grouped_dataset()
    inner = hold_out_of_train(data, 0.2, np.random.default_rng(3))
    groups = np.eye(N_GROUPS, dtype=np.float32)

    def evidence(shift: int) -> DotEvidence:
        """Return vectors by which a user prefers the items of its group, or with a shift of another."""
        users = EmbeddingTable(data.users, groups[(np.arange(N_USERS) + shift) % N_GROUPS])
        return DotEvidence(
            "cf", users, EmbeddingTable(data.items, groups[np.arange(N_ITEMS) % N_GROUPS]), cosine=False
        )

    config = JudgeConfig(regularization=5.0, hard_candidates=20, uniform_candidates=20, top=5, chunk_size=50)
    for remade, group in (({}, 0), ({"cf": evidence(1)}, 1)):
        judge = Judge(config, [evidence(0)])
        judge.fit(inner, RandomStreams(3))
        table = judge.judge(data, remade)
        assert (table.items % N_GROUPS == (table.users + group) % N_GROUPS).all()


def test_evidence_of_ready_vectors_counts_unknown_ids_as_zero() -> None:
    data = grouped_dataset()
    users = EmbeddingTable(Vocabulary(["u1"], "user"), np.array([[1.0, 2.0]], dtype=np.float32))
    items = EmbeddingTable(Vocabulary(["i3"], "item"), np.array([[3.0, 4.0]], dtype=np.float32))
    evidence = DotEvidence("cf", users, items, cosine=False)
    evidence.fit(data)
    scores = evidence.scores(np.array([0, 1]))
    assert scores[1, 3] == 11
    assert np.count_nonzero(scores) == 1
