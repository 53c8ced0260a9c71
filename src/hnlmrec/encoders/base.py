"""What every text encoder is to the stages; importable without torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hnlmrec.config import Config, Endpoint, added, runtime
from hnlmrec.errors import MissingDependencyError, ReplyError

Matrix = npt.NDArray[np.float32]
Advance = Callable[[int, int], None]
"""Told (done, total) texts."""

TextField = Literal["title", "facts", "profile"]


class TextEncoder(Protocol):
    """Texts to vectors.

    A row depends on its own text only, not on its neighbours nor on the batch size (up to rounding). A blank text
    has nothing to say, so its row is zero with every encoder: its cosine with anything counts as 0.
    """

    @property
    def size(self) -> int:
        """Length d of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with all that changes a vector: weights, template, pooling, length."""
        ...

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d].

        Args:
            texts: any number of texts, none included.
            batch_size: texts at once; a matter of speed and memory only.
            progress: told (done, total) texts.

        Raises:
            ProviderError: no text can be encoded (an endpoint is not there, refuses the credentials, …).
            RequestError: a request failed after all retries.
        """
        ...


class EncoderConfig(Config):
    """Which encoder turns titles and profiles into vectors."""

    name: Literal["sentence_transformer", "causal_lm", "api", "hashing", "noise"] = "sentence_transformer"
    """Kind of encoder. Two need no model: `hashing` knows spelling alone and is for tests; `noise` gives each text
    random numbers, an ablation that tells what the texts are worth."""
    model: str = "all-minilm-l6-v2"
    """An asset's name, a local folder, a GGUF file (`causal_lm`), a Hugging Face name, or the model of an API."""
    max_length: int | None = Field(None, ge=1)
    """Tokens after which a text is cut off; null takes the model's own limit (512 for `causal_lm`)."""
    pooling: Literal["mean", "last"] = "mean"
    """How `causal_lm` makes one vector of its last layer: mean over the tokens, or the last token."""
    n_layers: int | None = added(None, ge=1)
    """How many layers `causal_lm` goes through, from the first; null for all."""
    template: str = "{text}"
    """What `causal_lm` reads in place of a text; `{text}` stands for it."""
    item_fields: tuple[TextField, ...] = ("title", "facts", "profile")
    """Which columns of an item make up its text, in this order; empty ones are left out."""
    user_fields: tuple[TextField, ...] = ("profile",)
    """Likewise for a user."""
    base_url: Endpoint | None = runtime(None)
    """Address of an OpenAI-compatible API, up to and with /v1; null is OpenAI's own."""
    batch_size: int = runtime(32, ge=1)
    """Texts encoded at once."""
    device: str = runtime("auto")
    """`auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, …"""
    cache: bool = runtime(True)
    """Keep every text's vector in text_vectors.sqlite of the artefact store, so that no other run, split or
    catalogue encodes it again. Takes 4 bytes a number, beside the 2 of the table itself."""

    @model_validator(mode="after")
    def _fits_the_encoder(self) -> EncoderConfig:
        if self.name != "causal_lm" and (self.template, self.pooling, self.n_layers) != ("{text}", "mean", None):
            raise ValueError(f"template, pooling and n_layers are read by causal_lm only, not by {self.name}")
        if self.name in ("api", "hashing", "noise") and self.max_length is not None:
            raise ValueError(f"max_length is not read by {self.name}")
        return self


def join_fields(row: Mapping[str, str | None], fields: Iterable[TextField]) -> str:
    """Return the row's non-empty fields as sentences, "Toy Story (1995). Animation. …"; "" where all are empty."""
    parts = ((row.get(field) or "").strip() for field in fields)
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in parts if part)


def encode_distinct(
    texts: Sequence[str],
    batch_size: int,
    encode_batch: Callable[[list[str]], Matrix],
    size: Callable[[], int],
    progress: Advance | None,
) -> Matrix:
    """Encode each distinct text once, longest first, and put the rows where they belong.

    Texts of a batch are then of like length, so little is padded, and a batch that does not fit into the memory
    fails at once rather than at the end.

    Args:
        texts: what the caller asked for; blank ones get zero rows.
        batch_size: texts given to `encode_batch` at once.
        encode_batch: turns b texts, none of them blank, into float32 [b, d].
        size: returns d; asked after the first batch, when it is known without a request of its own.
        progress: told (done, total) of `texts`.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        valid = text.encode(errors="replace").decode()  # half a surrogate pair is no text, and breaks tokenizers
        places.setdefault(valid.strip(), []).append(place)
    blank = places.pop("", [])
    ordered = sorted(places, key=len, reverse=True)
    parts, done = [], len(blank)
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        parts.append(np.asarray(encode_batch(batch), dtype=np.float32))
        done += sum(len(places[text]) for text in batch)
        if progress is not None:
            progress(done, len(texts))
    vectors = np.zeros((len(texts), parts[0].shape[1] if parts else size()), dtype=np.float32)
    rows = np.concatenate(parts) if parts else vectors[:0]
    for row, text in zip(rows, ordered, strict=True):
        vectors[places[text]] = row
    if not np.isfinite(vectors).all():
        raise ReplyError("the encoder returned values that are not finite.")
    return vectors


def digest(*parts: object) -> str:
    """Return 16 hex digits of the sha256 of these values, which JSON must be able to hold."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def require(package: str, extra: str) -> None:
    """Raise MissingDependencyError unless that package is installed; does not import it."""
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(package, extra)
