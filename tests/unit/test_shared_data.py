"""Every real data set of the development folder is read and prepared; skipped where the folder is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlmrec.assets import is_present
from hnlmrec.data.preparation import PreparationConfig, Prepared, prepare_source
from hnlmrec.rng import RandomStreams

FOLDER = Path(__file__).parents[2].parent / "shared" / "data"

# split, users, items, all pairs, test pairs (None: cut here)
SETS = {
    "toys": ("random", 19412, 11924, 167597, None),
    "yelp_xrec": ("given", 15962, 14085, 393680, 39368),
    "ml1m_agent4rec": ("given", 1000, 3292, 185249, 55492),
    "gift_cards": ("random", 458, 148, 2965, None),
    "dens_toy": ("given", 4626, 10083, 44124 + 8666, 8666),
    "dens_baby": ("given", 4314, 5854, 31567 + 11090, 11090),
    "ml1m_ahns": ("given", 6040, 3706, 800005 + 200204, 200204),
    "sport_ahns": ("given", 35598, 18357, 236918 + 59419, 59419),
}


def _prepare(name: str) -> Prepared:
    return prepare_source(PreparationConfig(source=str(FOLDER / name)), RandomStreams(0))


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no development data in {FOLDER}")
@pytest.mark.parametrize("name", sorted(SETS))
def test_sizes(name: str) -> None:
    split, users, items, pairs, test = SETS[name]
    prepared = _prepare(name)
    statistics = prepared.statistics
    assert statistics["split"] == split
    assert (prepared.dataset.n_users, prepared.dataset.n_items) == (users, items)
    assert statistics["interactions"] == pairs
    assert test is None or len(prepared.dataset.test) == test
    assert len(prepared.dataset.valid) > 0
    assert statistics["corrupt_lines"] == {}
    if name.startswith(("dens", "ml1m_ahns", "sport")):  # numbers keep their meaning
        assert prepared.dataset.items.all_ids == tuple(str(number) for number in range(items))


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no development data in {FOLDER}")
def test_texts() -> None:
    gift_cards, taste = _prepare("gift_cards"), _prepare("ml1m_agent4rec")
    assert gift_cards.statistics["duplicates"] == 7
    assert gift_cards.statistics["text"]["items_with_title"] == 1.0
    assert not gift_cards.items["title"].str.contains("&amp;").any()
    assert gift_cards.reviews is not None
    assert 0 < len(gift_cards.reviews) <= len(gift_cards.dataset.train)
    assert taste.users["profile"].null_count() == 0
    assert taste.users["facts"].str.contains("years old|Under").all()


@pytest.mark.skipif(
    not is_present("ml-100k"), reason="the asset ml-100k is not cached: hnlmrec data fetch ml-100k"
)
def test_movielens_100k() -> None:
    prepared = prepare_source(PreparationConfig(source="ml-100k", core=5, min_rating=4), RandomStreams(0))
    assert prepared.statistics["steps"][0]["interactions"] == 100_000
    assert (prepared.statistics["steps"][0]["users"], prepared.statistics["steps"][0]["items"]) == (943, 1682)
    assert min(prepared.statistics[key]["min"] for key in ("user_degree", "item_degree")) >= 5
    titles = dict(prepared.items.select("item_id", "title").iter_rows())
    assert titles["1"] == "Toy Story"
    assert prepared.items.filter(item_id="1")["facts"].item() == "1995; Animation, Children's, Comedy"
    assert prepared.users.row(0) == ("1", "24 years old, male, technician", None)
