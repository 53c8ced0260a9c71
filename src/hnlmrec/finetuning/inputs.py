"""What the collaborative encoder reads of a data set: texts, and the vectors of a pre-trained CF model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import Vocabulary
from hnlmrec.errors import DataError
from hnlmrec.finetuning.texts import FinetuningTexts

Kind = Literal["hard_negative", "preference", "item"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Floats = npt.NDArray[np.float32]


class Prompt(NamedTuple):
    """One thing to encode, by numbers.

    `hard_negative` asks for the hard negative of (user, item), `preference` for what the user would choose, and
    `item` is an item as a document. -1 stands for what a kind has none of. `hidden` is the item that the shown
    history of the user leaves out.
    """

    kind: Kind
    user: int = -1
    item: int = -1
    hidden: int = -1


def hard_negative_prompt(user: int, item: int) -> Prompt:
    """Return the query of a pair; its item is shown as the chosen one, so the history need not repeat it."""
    return Prompt("hard_negative", int(user), int(item), int(item))


def preference_prompt(user: int, hidden: int = -1) -> Prompt:
    """Return the query of a user, without the item `hidden` in the history."""
    return Prompt("preference", int(user), -1, int(hidden))


def item_prompt(item: int) -> Prompt:
    """Return an item as a document."""
    return Prompt("item", -1, int(item))


@dataclass(frozen=True, eq=False)
class EncoderInputs:
    """Texts and CF vectors by number.

    Attributes:
        texts: see `FinetuningTexts`.
        users: float32 [n_users, d], of a CF model trained on train interactions.
        items: float32 [n_items, d].
    """

    texts: FinetuningTexts
    users: Floats
    items: Floats

    def __post_init__(self) -> None:
        expected = (len(self.texts.profiles), len(self.texts.items))
        if (len(self.users), len(self.items)) != expected or self.users.shape[1:] != self.items.shape[1:]:
            raise DataError(
                f"the data set has {expected[0]} users and {expected[1]} items, the CF vectors have the shapes "
                f"{self.users.shape} and {self.items.shape}. Pre-train on the same prepared data set."
            )

    @property
    def size(self) -> int:
        """Length d of a CF vector."""
        return int(self.users.shape[1])

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all texts and vectors."""
        content = hashlib.sha256(self.texts.digest.encode())
        for vectors in (self.users, self.items):
            content.update(np.ascontiguousarray(vectors).tobytes())
        return content.hexdigest()[:16]


def vectors_by_number(table: EmbeddingTable, vocabulary: Vocabulary) -> Floats:
    """Return the vectors of all ids of a vocabulary, float32 [len(vocabulary), d], in the order of the numbers.

    Raises:
        DataError: the table lacks some of them.
    """
    vectors, found = table.rows(vocabulary.all_ids)
    if not found.all():
        missing: Sequence[str] = vocabulary.ids(np.flatnonzero(~found)[:3].tolist())
        raise DataError(
            f"the table of vectors lacks {int((~found).sum())} of {len(vocabulary)} {vocabulary.kind}s, for "
            f"example {', '.join(map(repr, missing))}. Make it from the same prepared data set."
        )
    return vectors
