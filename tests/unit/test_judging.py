"""Judges: what they are fitted on, whether their probabilities hold, and what becomes of them in training."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from hnlmrec.artifacts import write_json
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import ConfigError, DataError, UnknownIdError
from hnlmrec.judging import (
    DotEvidence,
    Judge,
    JudgeConfig,
    PopularityEvidence,
    RecommenderEvidence,
    TextEvidence,
    hold_out_of_train,
)
from hnlmrec.judging.calibration import (
    ConditionalLogit,
    IsotonicCalibration,
    area_under_curve,
    brier_score,
    calibration_bins,
)
from hnlmrec.models.base import Batch, Embeddings
from hnlmrec.models.ease import EASE
from hnlmrec.negative_sampling import SAMPLERS, SamplerResources
from hnlmrec.negative_sampling.candidates import CandidateConfig
from hnlmrec.negative_sampling.risk import Guard
from hnlmrec.reporting.audit.calibration import read_calibration
from hnlmrec.rng import RandomStreams
from hnlmrec.training import TrainingConfig
from hnlmrec.training.recognised import RecognisedPositives
from hnlmrec.training.result import mark_judged_false

N_USERS, N_ITEMS, N_GROUPS = 120, 60, 4


def grouped_dataset(*, held: int = 1) -> InteractionDataset:
    """Users of group g like items of group g only; one item of each user is its test item."""
    rng = np.random.default_rng(0)
    users, items, tests = [], [], []
    for user in range(N_USERS):
        own = rng.permutation(np.arange(user % N_GROUPS, N_ITEMS, N_GROUPS))[:8]
        users += [user] * (8 - held)
        items += own[held:].tolist()
        tests += own[:held].tolist()
    return dataset(users, items, np.repeat(np.arange(N_USERS), held), tests)


def dataset(users: object, items: object, test_users: object = (), test_items: object = ()) -> InteractionDataset:
    def split(left: object, right: object) -> Interactions:
        return Interactions.from_pairs(left, right, N_USERS, N_ITEMS)  # type: ignore[arg-type]

    return InteractionDataset(
        Vocabulary((f"u{n}" for n in range(N_USERS)), "user"),
        Vocabulary((f"i{n}" for n in range(N_ITEMS)), "item"),
        split(users, items),
        split((), ()),
        split(test_users, test_items),
    )


def item_texts(data: InteractionDataset) -> EmbeddingTable:
    rng = np.random.default_rng(1)
    groups = np.eye(N_GROUPS, 6, dtype=np.float32)[np.arange(N_ITEMS) % N_GROUPS]
    return EmbeddingTable(data.items, groups + 0.3 * rng.standard_normal(groups.shape).astype(np.float32))


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


def test_the_choice_model_finds_the_weights_of_the_population() -> None:
    rng = np.random.default_rng(0)
    n_users, n_items = 2_000, 100
    x = rng.standard_normal((n_users, n_items, 2))
    chosen = (x @ [1.5, -0.7] + rng.gumbel(size=(n_users, n_items))).argmax(axis=1)
    y = np.arange(n_items) == chosen[:, None]
    kept = y | (rng.random(y.shape) < 0.2)  # a fifth of the others, each of which stands for five
    importance = np.full(kept.sum(), 5.0)
    users = np.repeat(np.arange(n_users), n_items).reshape(y.shape)[kept]
    found = ConditionalLogit.fit(x[kept], y[kept], importance, users)
    np.testing.assert_allclose(found.weights, [1.5, -0.7], atol=0.08)
    constant = np.concatenate([x[kept], users[:, None] / 100], axis=1)  # the same for all items of a user
    again = ConditionalLogit.fit(constant, y[kept], importance, users)
    np.testing.assert_allclose(again.weights, [*found.weights, 0], atol=1e-2)


@pytest.mark.parametrize("precision", [0.0, 1.0, 50.0])
def test_weights_are_those_of_the_highest_posterior(precision: float) -> None:
    rng = np.random.default_rng(0)
    x, users = rng.standard_normal((60, 4)) * [1, 10, 0.1, 3], np.repeat(np.arange(6), 10)
    chosen = np.tile(np.arange(10) == 0, 6)

    def posterior(weights: np.ndarray) -> float:
        scores = (x @ weights).reshape(6, 10)
        likelihood = (scores[:, 0] - np.log(np.exp(scores).sum(axis=1))).sum()
        sizes = ((weights * x.std(axis=0)) ** 2).sum()
        return float(likelihood - 0.5 * (precision + 6e-3) * sizes)

    found = ConditionalLogit.fit(x, chosen, np.ones(60), users, precision).weights
    around = found + 0.05 * rng.standard_normal((50, 4)) / x.std(axis=0)
    assert max(map(posterior, around)) < posterior(found)


def test_calibration_is_monotone_and_keeps_the_share_of_positives() -> None:
    rng = np.random.default_rng(0)
    logits, weights = rng.standard_normal(5_000), rng.uniform(0.5, 2, 5_000)
    outcomes = rng.random(5_000) < 1 / (1 + np.exp(-(2 * logits - 1)))  # the logits are off by both
    calibration = IsotonicCalibration.fit(logits, outcomes, weights)
    probabilities = calibration(logits)
    assert (np.diff(calibration(np.linspace(-5, 5, 200))) >= 0).all()
    raw = 1 / (1 + np.exp(-logits))
    assert brier_score(probabilities, outcomes, weights) < brier_score(raw, outcomes, weights)
    for line in calibration_bins(probabilities, outcomes, weights):
        assert line["mean_probability"] == pytest.approx(line["share_positive"], abs=0.06)


def test_area_under_curve() -> None:
    outcomes = np.array([True, False, True, False])
    assert area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), outcomes) == 1
    assert area_under_curve(np.ones(4), outcomes) == 0.5
    assert area_under_curve(np.array([0.0, 1.0, 2.0, 3.0]), outcomes) == 0.25
    assert np.isnan(area_under_curve(np.ones(2), np.array([True, True])))


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


def some_judgements() -> JudgementTable:
    return JudgementTable(
        np.array([0, 0, 0, 1]),
        np.array([5, 4, 6, 9]),
        np.array([0.2, 0.9, 0.9, 0.5], dtype=np.float32),
        np.array([1.0, 2.0, 3.0, 1.0], dtype=np.float32),
    )


def test_judgements_are_kept_by_id(tmp_path: Path) -> None:
    data = dataset([0], [1])
    some_judgements().save(tmp_path, data)
    table = JudgementTable.load(tmp_path, data)
    assert table.items.tolist() == [5, 4, 6, 9]
    assert table.best(2).items.tolist() == [6, 4, 9]
    with pytest.raises(DataError, match="train split"):
        JudgementTable.load(tmp_path, dataset([0], [5]))


def test_judgements_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    data = dataset([0], [1])
    frame = pl.DataFrame({"user_id": ["u0"], "item_id": ["i2"], "probability": [1.5]})
    frame.write_parquet(tmp_path / "judgements.parquet")
    with pytest.raises(DataError, match=r"1\.5"):
        JudgementTable.load(tmp_path, data)
    frame.with_columns(user_id=pl.lit("nobody")).write_parquet(tmp_path / "judgements.parquet")
    with pytest.raises(UnknownIdError, match="nobody"):
        JudgementTable.load(tmp_path, data)


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


@pytest.mark.parametrize(("n_each", "share"), [(2, 0.5), (6, 0.5), (24, 0.2), (30, 0.167)])
def test_the_fewer_items_users_have_the_more_positives_are_recognised(n_each: int, share: float) -> None:
    users = np.repeat(np.arange(10), n_each)  # the others have none, and do not count
    train = Interactions.from_pairs(users, np.tile(np.arange(n_each), 10), N_USERS, N_ITEMS)
    assert TrainingConfig(recognised_share="auto").resolved(train).recognised_share == share
    assert TrainingConfig(recognised_share=0.1).resolved(train).recognised_share == 0.1


def test_recognised_positives_make_up_their_share() -> None:
    config = TrainingConfig(recognised_share=0.25, recognised_per_user=2, recognised_weighting="probability")
    recognised = RecognisedPositives(some_judgements(), config, torch.device("cpu"))
    batch = Batch(torch.full((3000,), 7), torch.full((3000,), 8))
    extended = recognised.extend(batch, torch.Generator().manual_seed(0))
    assert len(extended.users) == 4000
    assert (extended.users[:3000] == 7).all()
    pairs = list(zip(extended.users[3000:].tolist(), extended.positives[3000:].tolist(), strict=True))
    assert set(pairs) == {(0, 4), (0, 6), (1, 9)}  # (0, 5) is the third of its user
    assert pairs.count((1, 9)) / 1000 == pytest.approx(0.5 / 2.3, abs=0.05)


@pytest.mark.parametrize(("evenness", "shares"), [(0.0, [0.6, 0.2, 0.2]), (1.0, [1 / 3] * 3)])
def test_recognised_positives_can_come_from_each_item_equally_often(evenness: float, shares: list[float]) -> None:
    users, items = np.array([0, 0, 1, 1, 2]), np.array([4, 6, 4, 9, 4])
    ones = np.ones(5, dtype=np.float32)
    config = TrainingConfig(recognised_share=0.5, recognised_per_user=2, recognised_evenness=evenness)
    recognised = RecognisedPositives(JudgementTable(users, items, ones, ones), config, torch.device("cpu"))
    batch = Batch(torch.zeros(3000, dtype=torch.int64), torch.zeros(3000, dtype=torch.int64))
    drawn = recognised.extend(batch, torch.Generator().manual_seed(0)).positives[3000:]
    assert [int((drawn == item).sum()) / 3000 for item in (4, 6, 9)] == pytest.approx(shares, abs=0.05)


def test_draws_that_the_judge_calls_false_are_marked() -> None:
    ones = np.ones(2, dtype=np.float32)
    false = JudgementTable(np.array([0, 1]), np.array([7, 3]), ones, ones)
    drawn = pl.DataFrame({"user": [0, 0, 1, 1, 2], "negative": [7, 3, -1, -1, 7], "generated": [-1, 7, 3, -1, -1]})
    marked = mark_judged_false(drawn, false)
    assert marked["judged_false"].to_list() == [True, False, True, False, False]
    nothing = JudgementTable(*(np.zeros(0, dtype=t) for t in (np.int64, np.int64, np.float32, np.float32)))
    assert not mark_judged_false(drawn, nothing)["judged_false"].any()
