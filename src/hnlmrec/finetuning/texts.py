"""What the language model reads of users and items: short texts, made of the train split alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from hnlmrec.config import Config, fingerprint_fields
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.data.tables import read_parquet
from hnlmrec.encoders.base import TextField, join_fields
from hnlmrec.errors import DataError
from hnlmrec.llm.prompts import clean, shortened
from hnlmrec.rng import RandomStreams


class TextsConfig(Config):
    """Which texts stand for users and items."""

    item_fields: tuple[TextField, ...] = ("title", "facts", "profile")
    """Columns of an item that make up its text, in this order; empty ones are left out."""
    max_item_characters: int = Field(160, ge=10)
    """Longest text of an item; what is longer is cut at a word."""
    user_text: Literal["profile_or_history", "profile", "history"] = "profile_or_history"
    """What is shown of a user: the profile; the titles of train items; or these where there is no profile."""
    max_user_characters: int = Field(240, ge=10)
    """Longest text of a user."""
    max_history: int = Field(6, ge=1)
    """Titles shown of a user's train items; drawn at random where there are more. A prepared data set keeps no
    order of time, so there is no choice of the latest ones."""


@dataclass(frozen=True, eq=False)
class FinetuningTexts:
    """Texts by number, safe to stand between delimiters. Holds train interactions and no others.

    Attributes:
        items: text of each item, "" where nothing is known.
        titles: name of each item, for histories.
        profiles: profile of each user, "" for none.
        train: the train split.
        config: see `TextsConfig`.
        history_seed: decides the order in which a user's train items are shown.
    """

    items: Sequence[str]
    titles: Sequence[str]
    profiles: Sequence[str]
    train: Interactions
    config: TextsConfig
    history_seed: int

    @classmethod
    def load(
        cls,
        prepared: Path,
        config: TextsConfig,
        streams: RandomStreams,
        *,
        item_profiles: Mapping[str, str] | None = None,
        user_profiles: Mapping[str, str] | None = None,
    ) -> FinetuningTexts:
        """Read a prepared data set.

        Args:
            prepared: folder of users.parquet, items.parquet and interactions.parquet.
            config: see `TextsConfig`.
            streams: "finetuning_histories" orders the histories.
            item_profiles: profiles by item id, in place of the source's own.
            user_profiles: likewise for users.

        Raises:
            DataError: no item has a text.
        """
        items = read_parquet(prepared / "items.parquet", ["item_id", "title", "facts", "profile"])
        users = read_parquet(prepared / "users.parquet", ["user_id", "profile"])
        written = item_profiles or {}
        rows = [
            {**row, "profile": written.get(row["item_id"], row["profile"])} for row in items.iter_rows(named=True)
        ]
        texts = [_safe(join_fields(row, config.item_fields), config.max_item_characters) for row in rows]
        if not any(texts):
            raise DataError(
                f"no item of {prepared} has a {' or '.join(config.item_fields)}, so there is nothing for a "
                "language model to read. Add items.jsonl to the source, or choose other item_fields."
            )
        known = user_profiles or {}
        profiles = [known.get(id_) or own or "" for id_, own in users.select("user_id", "profile").iter_rows()]
        return cls(
            texts,
            [_safe(row["title"] or text, 60) for row, text in zip(rows, texts, strict=True)],
            [_safe(profile, config.max_user_characters) for profile in profiles],
            InteractionDataset.load(prepared).train,
            config,
            streams.integer("finetuning_histories"),
        )

    def user(self, user: int, hidden: int = -1) -> str:
        """Return a user's text.

        Args:
            user: number.
            hidden: an item that the history must not show: the one that a query asks for; -1 for none. It cannot
                be taken out of a profile, so an evaluation that must not know it shows histories alone.
        """
        if self.config.user_text != "history" and (self.profiles[user] or self.config.user_text == "profile"):
            return self.profiles[user]
        order = np.random.default_rng([self.history_seed, user]).permutation(self.train.of(user))
        shown = [int(item) for item in order if item != hidden][: self.config.max_history]
        return shortened("; ".join(self.titles[item] for item in shown), self.config.max_user_characters)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that decides a text."""
        content = hashlib.sha256()
        for part in (self.items, self.titles, self.profiles, fingerprint_fields(self.config), self.history_seed):
            content.update(json.dumps(part if isinstance(part, dict | int) else list(part)).encode())
        content.update(self.train.indptr.tobytes() + self.train.indices.tobytes())
        return content.hexdigest()[:16]


def _safe(text: str, limit: int) -> str:
    return shortened(str(clean(text)), limit)
