"""Paired tests against scipy, known cases and bad input."""

import numpy as np
import pytest
from scipy import stats

from hnlmrec.errors import DataError, MissingFileError, UnknownChoiceError
from hnlmrec.evaluation.files import UserValues, read_evaluation, write_evaluation
from hnlmrec.evaluation.significance import TESTS, compare, holm


def result(values, users=None, name="recall@20"):
    array = np.asarray(values, dtype=np.float64)
    return UserValues(
        np.arange(len(array)) if users is None else np.asarray(users), {name: array}, {name: float(array.mean())}
    )


def sample(n=200, shift=0.05):
    rng = np.random.default_rng(0)
    base = rng.random(n)
    return base, base + shift + 0.1 * rng.standard_normal(n)


def test_the_t_test_is_scipys():
    base, mine = sample()
    (test,) = compare({"base": result(base), "mine": result(mine)}, baseline="base").tests
    expected = stats.ttest_rel(mine, base)
    assert test.p_value == pytest.approx(expected.pvalue)
    assert test.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert test.effect_size == pytest.approx((mine - base).mean() / (mine - base).std(ddof=1))
    assert (test.label, test.baseline, test.n_users) == ("mine", "base", 200)


def test_wilcoxon_is_scipys():
    base, mine = sample()
    (test,) = compare({"base": result(base), "mine": result(mine)}, test="wilcoxon").tests
    assert test.p_value == pytest.approx(stats.wilcoxon(mine - base, zero_method="pratt", method="approx").pvalue)


@pytest.mark.parametrize("test", TESTS)
def test_every_test_sees_a_difference_and_no_difference(test):
    base, mine = sample()
    results = {"base": result(base), "mine": result(mine), "same": result(base)}
    comparison = compare(results, baseline="base", test=test)
    found, same = comparison.find("mine", "recall@20"), comparison.find("same", "recall@20")
    assert found.p_adjusted < 0.01
    assert found.interval[0] < found.difference < found.interval[1]
    assert same.p_value == 1.0
    assert same.effect_size == 0.0
    assert comparison.find("base", "recall@20") is None
    assert compare(results, baseline="base", test=test) == comparison


def test_false_positives_are_about_as_rare_as_promised():
    rng = np.random.default_rng(1)
    for test in ("t", "wilcoxon"):
        p_values = [
            compare({"a": result(rng.random(60)), "b": result(rng.random(60))}, test=test).tests[0].p_value
            for _ in range(40 if test == "wilcoxon" else 200)
        ]
        assert np.mean(np.array(p_values) < 0.05) < 0.13


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1.0
    assert len(holm(np.array([]))) == 0


def test_each_label_may_have_its_own_baseline():
    base, mine = sample()
    results = {"u1": result(base), "u2": result(mine), "a": result(mine), "b": result(base)}
    comparison = compare(results, baseline={"a": "u1", "b": "u2"})
    assert [(t.label, t.baseline) for t in comparison.tests] == [("a", "u1"), ("b", "u2")]
    assert comparison.tests[0].difference == pytest.approx(-comparison.tests[1].difference)
    assert comparison.tests[0].p_adjusted == pytest.approx(2 * comparison.tests[0].p_value)


def test_bad_input_is_named():
    base, mine = sample()
    with pytest.raises(DataError, match="same users"):
        compare({"a": result(base), "b": result(mine, users=np.arange(1, 201))})
    with pytest.raises(DataError, match="two or more"):
        compare({"a": result([0.1]), "b": result([0.2])})
    with pytest.raises(UnknownChoiceError, match="significance test"):
        compare({"a": result(base), "b": result(mine)}, test="z")
    with pytest.raises(UnknownChoiceError, match="metric"):
        compare({"a": result(base), "b": result(mine)}, metrics=["ndcg@7"])
    with pytest.raises(UnknownChoiceError, match="result to compare"):
        compare({"a": result(base)}, baseline="c")


def test_files_round_trip(tmp_path):
    base, mine = sample(5)
    write_evaluation(tmp_path, {"valid": result(base), "test": result(mine)}, {"drawn": 0.1})
    read = read_evaluation(tmp_path)
    assert list(read) == ["valid", "test"]
    assert read["test"].per_user["recall@20"] == pytest.approx(mine)
    assert read["test"].users.tolist() == [0, 1, 2, 3, 4]
    assert read["valid"].means()["recall@20"] == pytest.approx(base.mean())
    with pytest.raises(MissingFileError, match="evaluate stage"):
        read_evaluation(tmp_path / "nothing")
