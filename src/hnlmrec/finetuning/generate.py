"""Vectors of hard negatives, items and users, written into tables that grow, and go on after a kill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from hnlmrec.config import Config, runtime
from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.data.nearest import nearest_items
from hnlmrec.data.splitting import ranks_within
from hnlmrec.encoders.base import Advance, digest
from hnlmrec.encoders.files import encode_to_file
from hnlmrec.errors import DataError
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.inputs import (
    KINDS,
    EncoderInputs,
    Floats,
    Prompt,
    hard_negative_prompt,
    item_prompt,
    preference_prompt,
)
from hnlmrec.rng import RandomStreams

_PROMPT = re.compile(rf"({'|'.join(KINDS)}) (-?\d+) (-?\d+) (-?\d+)")


class GenerationConfig(Config):
    """Which vectors are made."""

    granularity: Literal["per_pair", "k_per_user", "per_user"] = "per_pair"
    """A vector for each pair of the train split (the paper); for k of each user's pairs, which then stand for all
    of that user's pairs; or for one."""
    k: int = Field(1, ge=1)
    """With k_per_user: how many pairs of each user are drawn."""
    max_pairs_per_user: int | None = Field(None, ge=1)
    """With per_pair: how many train items of each user get a vector, drawn at random; null for all."""
    dtype: Literal["float16", "float32"] = "float16"
    """How vectors are stored."""
    batch_size: int = runtime(64, ge=1)
    """Prompts at once."""
    chunk_size: int = runtime(4096, ge=1)
    """Prompts between two writes; those of a chunk are sorted by length."""

    @model_validator(mode="after")
    def _k_is_read(self) -> GenerationConfig:
        if self.k != 1 and self.granularity != "k_per_user":
            raise ValueError(f"k is read with granularity k_per_user only, not with {self.granularity}")
        return self


def generate_hard_negatives(
    encoder: CollaborativeEncoder,
    inputs: EncoderInputs,
    dataset: InteractionDataset,
    config: GenerationConfig,
    *,
    streams: RandomStreams,
    out: Path,
    catalogue: EmbeddingTable | None = None,
    progress: Advance | None = None,
) -> HardNegativeTable:
    """Write the hard-negative vectors as a `HardNegativeTable`, and return it memory-mapped.

    Args:
        encoder: a fine-tuned one; an untuned one is an ablation.
        inputs: texts and CF vectors.
        dataset: for the ids; only its train split is read.
        config: see `GenerationConfig`.
        streams: "hard_negative_pairs" draws the pairs.
        out: gets hard_negatives.npy, hard_negatives.npy.json (what they were made from), hard_negatives.parquet.
        catalogue: the items' vectors by the same encoder. With them, each row stands for the item outside of the
            user's train items that is nearest to its vector, by cosine; without, for none.
        progress: told (done, total) vectors.

    Returns:
        one row a prompt; rows that stand for all pairs of a user have the positive -1.
    """
    users, items = choose_pairs(dataset, config, streams)
    prompts = [hard_negative_prompt(user, item) for user, item in zip(users, items, strict=True)]
    vectors = _write(encoder, inputs, prompts, out / "hard_negatives.npy", config, progress=progress)
    positives = items if config.granularity == "per_pair" else np.full_like(items, -1)
    nearest = np.full_like(items, -1)
    if catalogue is not None:
        item_vectors, _ = catalogue.rows(dataset.items.all_ids)
        nearest = nearest_items(vectors, users, item_vectors, (dataset.train,))[:, 0]
    table = HardNegativeTable(users, positives, vectors, dataset.n_items, nearest)
    table.save_keys(out, dataset)
    return table


def generate_embeddings(
    encoder: CollaborativeEncoder,
    inputs: EncoderInputs,
    dataset: InteractionDataset,
    kind: Literal["items", "users"],
    config: GenerationConfig,
    *,
    out: Path,
    progress: Advance | None = None,
) -> EmbeddingTable:
    """Write all items as documents, or all users as preference queries, as an `EmbeddingTable` of that name.

    The cosine of a user's and an item's vector is the encoder's judgement of how likely the user is to choose the
    item, where it was trained for the preference task.
    """
    if kind == "items":
        prompts, ids = [item_prompt(item) for item in range(dataset.n_items)], dataset.items
    else:
        prompts, ids = [preference_prompt(user) for user in range(dataset.n_users)], dataset.users
    vectors = _write(encoder, inputs, prompts, out / f"{kind}.npy", config, progress=progress)
    pl.DataFrame({"id": list(ids.all_ids)}, schema={"id": pl.String}).write_parquet(out / f"{kind}.parquet")
    return EmbeddingTable(ids, vectors)


def choose_pairs(
    dataset: InteractionDataset, config: GenerationConfig, streams: RandomStreams
) -> tuple[Numbers, Numbers]:
    """Return the users and train items that get a vector, int64 [n] each, users ascending."""
    train = dataset.train
    users, items = train.users.astype(np.int64), train.indices.astype(np.int64)
    limits = {"per_pair": config.max_pairs_per_user, "k_per_user": config.k, "per_user": 1}
    limit = limits[config.granularity]
    if limit is None:
        return users, items
    keys = np.random.default_rng(streams.integer("hard_negative_pairs")).random(len(users))
    kept = ranks_within(users, keys)[1] < limit
    return users[kept], items[kept]


class _PromptEncoder:
    """Gives `encode_to_file` prompts in the place of texts: a prompt's numbers, written out, are its text."""

    def __init__(self, encoder: CollaborativeEncoder, inputs: EncoderInputs) -> None:
        self._encoder, self._inputs = encoder, inputs
        self.size = encoder.size
        self.fingerprint = digest(encoder.fingerprint, inputs.digest)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Floats:
        """Return float32 [len(texts), size]."""
        prompts = [_read_prompt(text) for text in texts]
        return self._encoder.encode(prompts, self._inputs, batch_size=batch_size, progress=progress)


def _write(
    encoder: CollaborativeEncoder,
    inputs: EncoderInputs,
    prompts: Sequence[Prompt],
    path: Path,
    config: GenerationConfig,
    *,
    progress: Advance | None,
) -> npt.NDArray[np.floating[Any]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode_to_file(
        _PromptEncoder(encoder, inputs),
        [" ".join(map(str, prompt)) for prompt in prompts],
        path,
        batch_size=config.batch_size,
        dtype=config.dtype,
        chunk_size=config.chunk_size,
        progress=progress,
    )


def _read_prompt(text: str) -> Prompt:
    found = _PROMPT.fullmatch(text)
    if found is None:
        raise DataError(f"{text!r} is not a prompt of this package.")
    kind: Any = found[1]
    return Prompt(kind, *(int(number) for number in found.groups()[1:]))
