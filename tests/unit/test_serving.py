"""New users, the map from texts, ranking in chunks, and tables written in parts: against plain numpy."""

import numpy as np
import polars as pl
import pytest

from hnlmrec.data.interactions import Interactions
from hnlmrec.data.streaming import write_lines, write_parquet
from hnlmrec.errors import DataError
from hnlmrec.serving.new_users import FoldIn
from hnlmrec.serving.ranking import best_items
from hnlmrec.serving.text_projection import TextProjection

rng = np.random.default_rng(0)


def test_a_new_user_gets_the_vector_that_the_known_ones_teach():
    items = rng.normal(size=(50, 4)).astype(np.float32)
    pairs = np.nonzero(rng.random((200, 50)) < 0.2)
    train = Interactions.from_pairs(*pairs, 201, 50)  # the last user has nothing, and teaches nothing
    weights, constant = rng.normal(size=(4, 4)), np.arange(4.0)
    means = (train.to_scipy() @ items) / np.maximum(train.degrees, 1)[:, None]
    users = (means @ weights + constant).astype(np.float32)
    users[200] = 1e3
    fold_in = FoldIn.fit(users, items, train, penalty=1e-9)
    histories = [np.array([3, 7]), np.array([1])]
    expected = np.stack([items[h].mean(axis=0) @ weights + constant for h in histories])
    assert np.allclose(fold_in.vectors(histories), expected, atol=1e-3)
    with pytest.raises(DataError, match="no user has a train item"):
        FoldIn.fit(users, items, Interactions.from_pairs([], [], 201, 50))


def test_the_map_from_texts_leaves_out_what_has_no_text_or_no_user():
    texts = rng.normal(size=(300, 6)).astype(np.float16)
    weights = rng.normal(size=(6, 3))
    items = (texts @ weights + 2.0).astype(np.float32)
    degrees = rng.integers(1, 9, 300)
    texts[:20], degrees[20:40] = 0, 0
    items[:40] = 1e3  # would spoil the map
    projection = TextProjection.fit(texts, items, degrees, penalty=1e-9)
    new = rng.normal(size=(5, 6)).astype(np.float32)
    assert np.allclose(projection(new), new @ weights + 2.0, atol=1e-2)
    shrunk = TextProjection.fit(texts, items, degrees, penalty=1e9)
    assert np.allclose(shrunk(new), np.average(items[40:], axis=0, weights=np.sqrt(degrees[40:])), atol=1e-2)
    with pytest.raises(DataError, match="1 items have both"):
        TextProjection.fit(texts[:41], items[:41], np.where(np.arange(41) == 40, 1, 0))


def test_the_best_items_end_where_a_user_has_no_more():
    masked = Interactions.from_pairs([0, 0, 0], [0, 1, 2], 2, 4)
    items, scores = best_items(
        np.eye(2, dtype=np.float32), np.arange(8, dtype=np.float32).reshape(4, 2), 2, masked, np.arange(2)
    )
    assert items.tolist() == [[3, -1], [3, 2]]
    assert scores.tolist() == [[6, -np.inf], [7, 5]]
    with pytest.raises(ValueError, match="not a number"):
        best_items(np.full((1, 2), np.nan, dtype=np.float32), np.eye(2, dtype=np.float32), 1, masked, np.arange(1))


def test_a_table_is_there_when_it_is_whole(tmp_path):
    schema = {"n": pl.Int64, "v": pl.Array(pl.Float32, 2)}
    parts = [pl.DataFrame({"n": [n] * n, "v": [[n, n]] * n}, schema=schema) for n in range(4)]
    assert write_parquet(iter(parts), schema, tmp_path / "deep/table.parquet") == 6
    assert pl.read_parquet(tmp_path / "deep/table.parquet").equals(pl.concat(parts))
    assert write_lines(parts, tmp_path / "lines.txt", lambda row: str(row[0])) == 6
    assert (tmp_path / "lines.txt").read_text() == "1\n2\n2\n3\n3\n3\n"

    def broken():
        yield parts[1]
        raise DataError("no more")

    for write in (
        lambda path: write_parquet(broken(), schema, path),
        lambda path: write_lines(broken(), path, str),
    ):
        with pytest.raises(DataError, match="no more"):
            write(tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "lines.txt"]
