"""Training that starts from tables on disk, through the command line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
SMALL = (
    "model.embedding_size=8",
    "training.epochs=1",
    "training.select_by=recall@5",
    "evaluation.ks=[5]",
    "--json",
)


def stage(outcome: Outcome, name: str) -> dict[str, object]:
    assert outcome.status == 0, outcome.stderr
    return next(stage for stage in outcome.json["stages"] if stage["stage"] == name)


def test_a_training_starts_from_what_another_one_made(cli: Cli, data: Path, tmp_path: Path) -> None:
    train = ("train", data, "--model", "mf", *SMALL)
    first = stage(cli(*train), "train")
    tables = Path(str(first["path"])).rename(tmp_path / "tables")
    second = cli(*train, f"initialisation=table:{tables}", "training.learning_rate=1e-9")
    assert second.json["experiment"] == "uniform+table"
    made = stage(second, "train")
    assert made["counts"]["users_without_initial_vector"] == 0
    np.testing.assert_allclose(
        np.load(tables / "items.npy"), np.load(Path(str(made["path"])) / "items.npy"), atol=1e-6
    )
    moved = tables.rename(tmp_path / "moved")
    again = stage(cli(*train, f"initialisation=table:{moved}", "training.learning_rate=1e-9"), "train")
    assert again["reused"], "the key is of the content, not of the place"
    np.save(moved / "items.npy", 2 * np.load(moved / "items.npy"))
    other = stage(cli(*train, f"initialisation=table:{moved}", "training.learning_rate=1e-9"), "train")
    assert other["key"] != made["key"]


def test_another_split_encodes_no_text_again(cli: Cli, data: Path) -> None:
    train = ("train", data, "--model", "mf", *SMALL, "initialisation=semantic", "encoder.name=hashing")
    made = [stage(cli(*train, "seed=0"), "encode")]
    folder = Path(str(made[0]["path"]))
    with sqlite3.connect(folder.parents[1] / "text_vectors.sqlite") as database:
        rows = database.execute("SELECT vector, key FROM vectors WHERE length(vector) > 8").fetchall()
        turned = [((-np.frombuffer(vector, np.float32)).tobytes(), key) for vector, key in rows]
        database.executemany("UPDATE vectors SET vector = ? WHERE key = ?", turned)
    database.close()
    made += [stage(cli(*train, *options), "encode") for options in (["seed=1"], ["seed=2", "encoder.cache=false"])]
    assert len({str(one["key"]) for one in made}) == 3
    encoded, from_cache, anew = (np.load(Path(str(one["path"])) / "items.npy") for one in made)
    np.testing.assert_array_equal(from_cache, -encoded)
    np.testing.assert_array_equal(anew, encoded)


def test_what_is_wrong_with_an_initialisation_is_said(cli: Cli, data: Path, tmp_path: Path) -> None:
    train = ("train", data, "--model", "mf", *SMALL)
    for text, message in (("warm", "initialisation"), (f"table:{tmp_path}/nothing", "lacks users.npy")):
        outcome = cli(*train, f"initialisation={text}")
        assert outcome.status == 2
        assert message in outcome.stderr


def test_a_catalogue_of_fewer_items_than_dimensions_starts_from_its_texts(cli: Cli, data: Path) -> None:
    train = ("train", data, "--model", "mf", *SMALL, "initialisation=semantic", "encoder.name=hashing")
    outcome = cli(*train, "model.embedding_size=64")
    assert outcome.status == 0
    assert "the item texts span 23 dimensions; 41 more start from random values" in " ".join(
        outcome.stderr.split()
    )
