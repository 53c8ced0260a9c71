"""The Python API: frames in and out, parameters, folders, and what it says of bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hnlmrec
from hnlmrec import Recommender
from hnlmrec.errors import ConfigError, DataError, MissingFileError, UnknownChoiceError, UnknownIdError

QUICK = {"embedding_size": 8, "epochs": 20, "learning_rate": 0.05, "device": "cpu"}


def pairs():
    """60 users and 40 items of two tastes: a user number below 30 likes items below 20."""
    rng = np.random.default_rng(0)
    return np.nonzero(rng.random((60, 40)) < np.kron([[0.5, 0.02], [0.02, 0.5]], np.ones((30, 20))))


@pytest.fixture(scope="module")
def frame():
    users, items = pairs()
    return pl.DataFrame({"user_id": users, "item_id": [f"i{item}" for item in items], "when": users})


@pytest.fixture(scope="module")
def fitted(frame):
    titles = pl.DataFrame({"item_id": ["i3", "i25"], "title": ["Three", None]})
    return Recommender("mf", "dns", sampler_options={"n_candidates": 4}, **QUICK).fit(frame, titles)


def tastes(frame):
    return {int(item[1:]) // 20 for item in frame["item_id"]}


def test_recommends_by_taste_and_nothing_that_is_known(fitted, frame):
    found = fitted.recommend([0, 5], 3)
    assert found.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert found["user_id"].to_list() == [0, 0, 0, 5, 5, 5]
    assert found["rank"].to_list() == [1, 2, 3] * 2
    assert found.join(frame, on=["user_id", "item_id"]).is_empty()
    assert len(fitted.recommend(k=2)) == 2 * 60
    ours = fitted.recommend(range(30), 3)
    assert ours["item_id"].is_in([f"i{n}" for n in range(20)]).mean() > 0.85  # by chance: below 0.5
    assert fitted.best_value_ > 0.7


def test_similar_items_and_new_users_share_the_taste(fitted):
    assert tastes(fitted.similar_items("i30", 4)) == {1}
    new = fitted.recommend_for_history(["i2", "i5", "i5"], 4)
    assert tastes(new) == {0}
    assert not set(new["item_id"]) & {"i2", "i5"}
    assert new.columns == ["rank", "item_id", "title", "score"]
    titles = dict(fitted.recommend(k=20).select("item_id", "title").iter_rows())
    assert titles["i3"] == "Three"
    assert titles["i25"] == ""


def test_pandas_in_is_pandas_out(frame):
    pandas = pytest.importorskip("pandas")
    users, items = pairs()
    table = pandas.DataFrame({"user_id": [f"u{user}" for user in users], "item_id": items})
    model = Recommender("mf", **QUICK | {"epochs": 2}).fit(
        table, pandas.DataFrame({"item_id": [1], "title": ["One"]})
    )
    found = model.recommend(table["user_id"][:1], 2)
    assert isinstance(found, pandas.DataFrame)
    assert found["user_id"].tolist() == ["u0", "u0"]
    assert found["item_id"].dtype == np.int64
    assert isinstance(model.similar_items(1, 2), pandas.DataFrame)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    for _ in range(2):  # a second save replaces the first
        fitted.save(tmp_path / "mine")
    again = Recommender.load(tmp_path / "mine")
    assert again.recommend(k=5).equals(fitted.recommend(k=5))
    assert again.get_params() == fitted.get_params()
    assert again.best_epoch_ == fitted.best_epoch_
    kinds = {path.suffix for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert kinds == {".json", ".npy", ".parquet"}
    (tmp_path / "mine/recommender.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(DataError, match="version 0"):
        Recommender.load(tmp_path / "mine")
    with pytest.raises(MissingFileError):
        Recommender.load(tmp_path / "nothing")


def test_parameters_are_those_of_scikit_learn(frame):
    model = Recommender("mf", epochs=3)
    assert Recommender(**model.get_params()) == model
    assert model.set_params(epochs=5, seed=1) is model
    assert (model.epochs, model.get_params(deep=False)["seed"]) == (5, 1)
    with pytest.raises(UnknownChoiceError, match="did you mean 'epochs'"):
        model.set_params(epoch=3)


def test_the_same_seed_gives_the_same_vectors(fitted, frame):
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    again = Recommender("mf", "dns", sampler_options={"n_candidates": 4}, **QUICK).fit(shuffled)
    assert np.array_equal(again.vectors_.items, fitted.vectors_.items)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"model": "lightgnc"}, "lightgcn"),
        ({"sampler": "dsn"}, "dns"),
        ({"sampler": "semantic"}, "needs hard negatives"),
        ({"model_options": {"n_layer": 2}}, "n_layer"),
        ({"model_options": {"embedding_size": 2}}, "a parameter of its own"),
        ({"epochs": 0, "batch_size": 0}, "batch_size"),
        ({"valid_fraction": 1.0}, "valid_fraction"),
    ],
)
def test_bad_parameters_are_found_when_it_is_fitted(frame, parameters, says):
    with pytest.raises(ConfigError, match=says):
        Recommender(**parameters).fit(frame)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"user_id": [1], "item": ["a"]}, "lacks the column item_id"),
        ({"user_id": [1, None], "item_id": ["a", "b"]}, "user_id holds None"),
        ({"user_id": ["u", ""], "item_id": ["a", "b"]}, "user_id holds ''"),
        ({"user_id": [1.5], "item_id": ["a"]}, "user_id holds 1.5"),
        ({"user_id": [], "item_id": []}, "has no row"),
        ({"user_id": ["u", "v"], "item_id": ["a", "b"]}, "larger valid_fraction"),
    ],
)
def test_bad_tables_are_refused(columns, says):
    with pytest.raises(DataError, match=says):
        Recommender("mf").fit(pl.DataFrame(columns))


def test_bad_requests_are_refused(fitted):
    with pytest.raises(DataError, match="give a pandas or polars DataFrame"):
        Recommender().fit([(1, "a")])
    with pytest.raises(ConfigError, match="not fitted"):
        Recommender().recommend([1])
    with pytest.raises(UnknownIdError, match="did you mean"):
        fitted.similar_items("i300")
    with pytest.raises(ConfigError, match="1 to 40"):
        fitted.recommend([1], 41)
    with pytest.raises(DataError, match="give a list"):
        fitted.recommend("12")
    with pytest.raises(DataError, match="empty"):
        fitted.recommend_for_history([])


def test_the_package_itself_is_light():
    code = "import sys, hnlmrec; assert not {'torch', 'polars', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="recomender"):
        _ = hnlmrec.recomender


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    notebook = json.loads((Path(__file__).parents[2] / "examples/quickstart.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # a notebook is kept without what it printed
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    assert len(names["top"]) == 5
