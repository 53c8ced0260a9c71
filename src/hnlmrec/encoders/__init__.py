"""Text encoders: titles, profiles and generated negatives become vectors.

Choose one in the table `ENCODERS`. A module that must stay free of torch imports `hnlmrec.encoders.base`.
"""

from __future__ import annotations

from collections.abc import Callable

from hnlmrec.encoders.api import EmbeddingAPIEncoder
from hnlmrec.encoders.base import EncoderConfig, TextEncoder, join_fields
from hnlmrec.encoders.causal_lm import CausalLMEncoder
from hnlmrec.encoders.files import encode_to_file
from hnlmrec.encoders.sentence import SentenceTransformerEncoder
from hnlmrec.encoders.without_model import HashingEncoder, NoiseEncoder
from hnlmrec.errors import lookup

ENCODERS: dict[str, Callable[[EncoderConfig], TextEncoder]] = {
    "sentence_transformer": SentenceTransformerEncoder.from_config,
    "causal_lm": CausalLMEncoder.from_config,
    "api": EmbeddingAPIEncoder.from_config,
    "hashing": lambda _: HashingEncoder(),
    "noise": lambda _: NoiseEncoder(),
}


def open_encoder(config: EncoderConfig) -> TextEncoder:
    """Return the encoder that the config names. A model is found now, and loaded by the first text.

    Raises:
        MissingDependencyError: an optional package is not installed.
        MissingFileError: there is no such model.
        AssetUnavailableError: the model could not be downloaded.
    """
    return lookup(ENCODERS, config.name, "encoder")(config)


__all__ = [
    "ENCODERS",
    "CausalLMEncoder",
    "EmbeddingAPIEncoder",
    "EncoderConfig",
    "HashingEncoder",
    "NoiseEncoder",
    "SentenceTransformerEncoder",
    "TextEncoder",
    "encode_to_file",
    "join_fields",
    "open_encoder",
]
