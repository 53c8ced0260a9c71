"""Tables of judgements: as files, as recognised positives, and as marks of false draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.unit.judging_world import (
    N_ITEMS,
    N_USERS,
    dataset,
    some_judgements,
)

from hnlmrec.data.interactions import Interactions
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.errors import DataError, UnknownIdError
from hnlmrec.models.base import Batch
from hnlmrec.training import TrainingConfig
from hnlmrec.training.recognised import RecognisedPositives
from hnlmrec.training.result import mark_judged_false


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
