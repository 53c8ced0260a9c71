"""The table of recommenders without gradient training, for honest comparison."""

from __future__ import annotations

from hnlmrec.models.ease import EASE
from hnlmrec.models.ease_text import EASEText
from hnlmrec.models.item_knn import ItemKNN
from hnlmrec.models.popularity import Popularity

RECOMMENDERS: dict[str, type[EASE | EASEText | ItemKNN | Popularity]] = {
    "popularity": Popularity,
    "item_knn": ItemKNN,
    "ease": EASE,
    "ease_text": EASEText,
}
