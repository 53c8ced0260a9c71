"""A tiny prepared data set with texts, for the tests of the generation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.llm.client import CompletionConfig, Message

TITLES = [
    "Toy Story",
    "GoldenEye",
    "White Balloon, The",
    "Fargo",
    "Scream",
    "Alien",
    "Twins",
    "Twins",
    "",
    "Contact",
]
FACTS = [
    "1995; Animation, Comedy",
    "1995; Action, Thriller",
    "1995; Drama",
    "1996; Crime, Drama, Thriller",
    "1996; Horror, Thriller",
    "1979; Horror, Sci-Fi",
    "1988; Comedy",
    "1990; Horror",
    "",
    "1997; Drama, Sci-Fi",
]
TRAIN = [(0, 0), (0, 1), (0, 6), (1, 3), (1, 4), (1, 5), (2, 9)]
CONFIG = CompletionConfig(model="scripted")


def prepared(
    folder: Path,
    *,
    valid: Sequence[tuple[int, int]] = ((0, 2), (1, 0)),
    test: Sequence[tuple[int, int]] = ((0, 3), (2, 5)),
    train: Sequence[tuple[int, int]] = TRAIN,
    profiles: bool = False,
    reviews: bool = False,
) -> Path:
    folder.mkdir(parents=True)
    n_users, n_items = 3, len(TITLES)
    users, items = [f"u{n}" for n in range(n_users)], [f"i{n}" for n in range(n_items)]
    text = {"profile": pl.String}
    pl.DataFrame(
        {
            "user_id": users,
            "facts": ["24 years old, male, technician", "", "artist"],
            "profile": ["Likes toys.", None, " "] if profiles else [None] * n_users,
        },
        schema_overrides=text,
    ).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {
            "item_id": items,
            "title": TITLES,
            "facts": FACTS,
            "profile": ["About toys.", *[None] * (n_items - 1)] if profiles else [None] * n_items,
        },
        schema_overrides=text,
    ).write_parquet(folder / "items.parquet")
    splits = (
        Interactions.from_pairs([u for u, _ in pairs], [i for _, i in pairs], n_users, n_items)
        for pairs in (train, valid, test)
    )
    InteractionDataset(Vocabulary(users, "user"), Vocabulary(items, "item"), *splits).save(folder)
    if reviews:
        pairs = [*train, *valid, *test]
        pl.DataFrame(
            {
                "user_id": [f"u{u}" for u, _ in pairs],
                "item_id": [f"i{i}" for _, i in pairs],
                "text": [f"review of {u} for {i} " + "word " * 100 for u, i in pairs],
            }
        ).write_parquet(folder / "reviews.parquet")
    return folder


def profile_reply(messages: Sequence[Message], config: CompletionConfig) -> str:
    facts = messages[-1].content.splitlines()[1][:60]
    return json.dumps({"summarization": f"About {facts}.", "reasoning": "The facts say so."})
