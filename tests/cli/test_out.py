"""`recommend` and `export`: results in the form in which others use them, from small real runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from tests.cli.conftest import Outcome

from hnlmrec.exporting.torch_dataset import NegativesDataset
from hnlmrec.pipeline.results import open_run
from hnlmrec.serving.vectors import vectors_of_run

Cli = Callable[..., Outcome]
QUICK = ("training.epochs=3", "training.batch_size=64", "model.embedding_size=8", "training.device=cpu")
QUICK += ("evaluation.ks=[5]", "training.select_by=recall@5")
TEXT = ("initialisation=semantic", "encoder.name=hashing")


def train(cli: Cli, data: Path, sampler: str = "dns", *more: str) -> str:
    outcome = cli("train", data, "--sampler", sampler, *QUICK, *more, "--json")
    assert outcome.status == 0, outcome.stderr
    return str(outcome.json["run_dir"])


def train_pairs(run: str) -> set[tuple[str, str]]:
    data = vectors_of_run(open_run(Path(run))).dataset
    users = data.users.ids(data.train.users.tolist())
    return set(zip(users, data.items.ids(data.train.indices.tolist()), strict=True))


def export(cli: Cli, run: str, name: str, *more: object) -> tuple[Path, dict[str, Any]]:
    outcome = cli("export", run, "--format", name, "--json", *more)
    assert outcome.status == 0, outcome.stderr
    return Path(outcome.json["path"]), outcome.json["counts"]


def test_known_users_new_users_and_similar_items(cli: Cli, data: Path) -> None:
    run = train(cli, data, "dns", "training.epochs=12", "training.learning_rate=0.1")
    known = cli("recommend", run, "--user", "u3", "-k", "4", "--json").json
    assert [row["title"].startswith("Film") for row in known["items"]] == [True] * 4
    history = sorted(item for user, item in train_pairs(run) if user == "u3")
    new = cli("recommend", run, "--history", ",".join(history), "-k", "4", "--json").json
    assert new["history"] == history
    assert not {row["item_id"] for row in new["items"]} & set(history)
    assert all(int(row["item_id"][1:]) % 2 == 1 for row in new["items"])  # u3 likes odd items: so do its twins
    listed = data / "history.txt"
    listed.write_text("\n".join([*history, "", history[0]]) + "\n")
    assert cli("recommend", run, "--history-file", listed, "-k", "4", "--json").json["items"] == new["items"]
    similar = cli("recommend", run, "--similar", "i3", "-k", "5", "--json").json["items"]
    assert all(int(row["item_id"][1:]) % 2 == 1 and row["item_id"] != "i3" for row in similar)
    assert len(cli("recommend", run, "--similar", "i3", "-k", "5").stdout.splitlines()) == 5


def test_recommendations_of_all_users_agree_with_those_of_one(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnlmrec.serving.ranking._CELLS", 24 * 7)  # 7 users a chunk: the last is not full
    run = train(cli, data)
    written = cli("recommend", run, "--all", "--out", "out/top.parquet", "-k", "3", "--json").json
    frame = pl.read_parquet("out/top.parquet")
    assert written == {"out": "out/top.parquet", "users": 30, "rows": 90, "k": 3}
    assert frame.columns == ["user_id", "rank", "item_id", "title", "score"]
    for user in ("u0", "u17", "u29"):
        alone = cli("recommend", run, "--user", user, "-k", "3", "--json").json["items"]
        assert frame.filter(user_id=user)["item_id"].to_list() == [row["item_id"] for row in alone]


def test_the_lists_of_the_judge_can_be_had(cli: Cli, data: Path) -> None:
    judged = ("training.recognised_share=0.3", "training.recognised_per_user=3", "judge.name=ease_text")
    run = train(cli, data, "dns", *TEXT, *judged, "judge.top=12")
    opened = open_run(Path(run))
    vectors = vectors_of_run(opened)
    table = pl.read_parquet(opened.payload("judge") / "judgements.parquet")
    frame = table.filter(user_id="u3").sort("score", descending=True)
    users = np.repeat(vectors.dataset.users.numbers(["u3"]), len(frame))
    is_seen = vectors.seen.contains(users, vectors.dataset.items.numbers(frame["item_id"].to_list()))
    expected = frame.filter(pl.Series(~is_seen))["item_id"].to_list()[:3]
    items = cli("recommend", run, "--user", "u3", "--judge", "-k", "3", "--json").json["items"]
    assert [row["item_id"] for row in items] == expected
    assert items[0]["title"].startswith("Film")
    assert items[0]["score"] == pytest.approx(frame.filter(item_id=expected[0])["score"][0], abs=1e-6)
    cli("recommend", run, "--all", "--judge", "--out", "judged.parquet", "-k", "3")
    written = pl.read_parquet("judged.parquet")
    assert written.filter(user_id="u3")["item_id"].to_list() == expected
    assert written["user_id"].n_unique() == 30
    assert set(written["rank"]) == {1, 2, 3}
    for options, says in (
        (["--user", "u3", "-k", "13"], "judge.top"),
        (["--history", "i1"], "with --user ID"),
    ):
        outcome = cli("recommend", run, "--judge", *options)
        assert outcome.status == 2
        assert says in " ".join(outcome.stderr.split())


def test_cold_items_are_recommended_by_their_text(cli: Cli, data: Path) -> None:
    run = train(cli, data, "dns", *TEXT, "training.epochs=12", "training.learning_rate=0.1")
    cold = data / "cold.jsonl"
    rows = [{"item_id": f"new{n}", "title": "", "categories": [kind]} for n, kind in enumerate(("Crime", "Drama"))]
    cold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    even, odd = (
        cli("recommend", run, "--user", user, "--cold-items", cold, "-k", "2", "--json").json["items"]
        for user in ("u4", "u5")
    )
    assert (even[0]["item_id"], odd[0]["item_id"]) == ("new0", "new1")  # even users like crime
    table = data / "cold.csv"
    table.write_text("item_id,categories\nnew0,Crime\nnew1,Drama\n")
    of_table = cli("recommend", run, "--user", "u4", "--cold-items", table, "-k", "2", "--json").json["items"]
    assert of_table == even
    new = cli("recommend", run, "--history", "i1,i3,i5", "--cold-items", cold, "-k", "1", "--json").json["items"]
    assert new[0]["item_id"] == "new1"
    done = cli("recommend", run, "--all", "--out", "cold.parquet", "--cold-items", cold, "-k", "2", "--json").json
    assert done["rows"] == 60


WRONG_REQUESTS = [
    (["--user", "uu3"], ["uu3", "did you mean 'u"]),
    (["--history", "i1,i999"], ["i999", "did you mean 'i"]),
    (["--similar", "j3"], ["j3"]),
    (["--user", "u3", "-k", "25"], ["25", "24 items"]),
    (["--similar", "i3", "-k", "24"], ["24", "23"]),
    (["--history", " , "], ["empty"]),
    (["--history-file", "nowhere.txt"], ["nowhere.txt"]),
    ([], ["--history", "--all"]),
    (["--user", "u3", "--all", "--out", "x.parquet"], ["2 times"]),
    (["--all"], ["--out FILE.parquet"]),
    (["--user", "u3", "--out", "x.parquet"], ["--all"]),
    (["--user", "u3", "--cold-items", "COLD"], ["no vectors of item texts", "initialisation=semantic"]),
    (["--similar", "i3", "--cold-items", "COLD"], ["--similar"]),
    (["--user", "u1", "--judge"], ["has no judge"]),
]


def test_what_cannot_be_recommended_is_explained(cli: Cli, data: Path) -> None:
    run = train(cli, data, "uniform", "training.epochs=1")
    (data / "cold.jsonl").write_text('{"item_id": "new", "title": "New"}\n')
    for options, says in WRONG_REQUESTS:
        outcome = cli("recommend", run, *(option.replace("COLD", str(data / "cold.jsonl")) for option in options))
        assert outcome.status == 2, outcome.stdout
        message = " ".join(outcome.stderr.split())
        assert all(text in message for text in says), message


def test_cold_items_that_cannot_be_placed(cli: Cli, data: Path) -> None:
    run = train(cli, data, "uniform", *TEXT, "training.epochs=1")
    for line, says in (
        ('{"item_id": "i3", "title": "Film 3"}', "in the run already"),
        ('{"item_id": "new", "title": ""}', "no text"),
        ('{"item_id": "new", "title": "a"}\n{"title": "no id"}', "no item_id: 1 (line 2)"),
    ):
        (data / "cold.jsonl").write_text(line + "\n")
        outcome = cli("recommend", run, "--user", "u1", "--cold-items", data / "cold.jsonl", "-k", "1")
        assert outcome.status == 2
        assert says in " ".join(outcome.stderr.split())


def test_embeddings_as_parquet_safetensors_and_faiss(cli: Cli, data: Path) -> None:
    run = train(cli, data)
    vectors = vectors_of_run(open_run(Path(run)))
    folder, counts = export(cli, run, "parquet")
    assert folder == Path(run) / "export/parquet"
    assert counts == {"users": 30, "items": 24, "size": 8}
    items = pl.read_parquet(folder / "items.parquet")
    assert items["item_id"].to_list() == list(vectors.dataset.items.all_ids)
    assert items.schema["vector"] == pl.Array(pl.Float32, 8)
    assert np.array_equal(items["vector"].to_numpy(), vectors.items)
    folder, _ = export(cli, run, "safetensors", "--out", "given")
    tensors, ids = load_file(folder / "vectors.safetensors"), json.loads((folder / "ids.json").read_text())
    assert folder == Path("given")
    assert np.array_equal(tensors["users"], vectors.users)
    assert np.array_equal(tensors["items"], vectors.items)
    assert ids["users"] == list(vectors.dataset.users.all_ids)
    faiss = pytest.importorskip("faiss")
    folder, _ = export(cli, run, "faiss")
    index = faiss.read_index(str(folder / "items.faiss"))
    scores, rows = index.search(np.array(vectors.users[:3]), 4)
    expected = np.sort(vectors.users[:3] @ vectors.items.T, axis=1)[:, ::-1][:, :4]
    assert np.allclose(scores, expected, atol=1e-6)
    assert len(json.loads((folder / "items.json").read_text())) == index.ntotal == 24
    assert rows.shape == (3, 4)


@pytest.mark.parametrize("sampler", ["in_batch", "mixgcf"])
def test_negatives_name_no_train_item(cli: Cli, data: Path, sampler: str) -> None:
    run = train(cli, data, sampler, "sampler.n_negatives=2")
    folder, counts = export(cli, run, "negatives")
    frame, pairs = pl.read_parquet(folder / "negatives.parquet"), train_pairs(run)
    assert len(frame) == counts["rows"] == 2 * len(pairs)
    assert set(frame["source"]) == {"training" if sampler == "mixgcf" else "sampler"}
    assert not set(frame.select("user_id", "item_id").iter_rows()) & pairs
    assert set(frame.select("user_id", "positive_id").iter_rows()) == pairs
    again = pl.read_parquet(export(cli, run, "negatives")[0] / "negatives.parquet")
    assert again.equals(frame)


def test_the_torch_export_feeds_a_loader(cli: Cli, data: Path) -> None:
    run = train(cli, data)
    folder, counts = export(cli, run, "torch")
    dataset = NegativesDataset(folder)
    assert len(dataset) == counts["rows"] == len(train_pairs(run))
    assert dataset.items.all_ids == vectors_of_run(open_run(Path(run))).dataset.items.all_ids
    users, positives, negatives = next(iter(torch.utils.data.DataLoader(dataset, batch_size=50)))
    assert users.shape == (50,)
    assert users.dtype == torch.int64
    named = zip(dataset.users.ids(users.tolist()), dataset.items.ids(positives.tolist()), strict=True)
    assert set(named) <= train_pairs(run)
    file = NegativesDataset(folder / "negatives.parquet")
    assert file.items.ids([int(file[7][2])]) == dataset.items.ids([int(dataset[7][2])])
    assert not (positives == negatives).any()


def test_recbole_files_hold_splits_items_and_negatives(cli: Cli, data: Path) -> None:
    run = train(cli, data, "dns", "name=films")
    folder, counts = export(cli, run, "recbole")
    lines = (folder / "films/films.train.inter").read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token\tneg_item_id:token"
    rows = [line.split("\t") for line in lines[1:]]
    assert {(user, item) for user, item, _ in rows} == train_pairs(run)
    assert len(rows) == counts["train"]
    for split in ("valid", "test"):
        assert len((folder / f"films/films.{split}.inter").read_text().splitlines()) == counts[split] + 1 > 1
    items = (folder / "films/films.item").read_text().splitlines()
    assert items[0] == "item_id:token\ttitle:token_seq"
    assert sorted(items[1:])[0] == "i0\tFilm 0"
    assert "alias_of_item_id: [neg_item_id]" in (folder / "films.yaml").read_text()


def test_sentence_transformers_triplets_are_in_words(cli: Cli, data: Path) -> None:
    run = train(cli, data)
    folder, counts = export(cli, run, "sentence-transformers")
    rows = [json.loads(line) for line in (folder / "triplets.jsonl").read_text().splitlines()]
    assert len(rows) == counts["rows"] == len(train_pairs(run))
    assert counts["without_text"] == 0
    assert set(rows[0]) == {"anchor", "positive", "negative"}
    assert rows[0]["positive"].startswith("Film ")
    assert all(row["positive"].split(".")[0] not in row["anchor"].split("; ") for row in rows)


def test_what_cannot_be_exported_is_explained(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(cli, data)
    unknown = cli("export", run, "--format", "parket")
    assert unknown.status == 2
    message = " ".join(unknown.stderr.split())
    assert "did you mean 'parquet'" in message
    assert "sentence-transformers" in message
    (tmp_path / "work/file").write_text("")
    assert "is a file" in cli("export", run, "--format", "parquet", "--out", "file").stderr
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    without = cli("export", run, "--format", "faiss")
    assert without.status == 2
    assert "hnlmrec[faiss]" in without.stderr
    assert cli("export", "no-run", "--format", "parquet").status == 2
