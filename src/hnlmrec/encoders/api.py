"""Vectors from an OpenAI-compatible API (`/v1/embeddings`): OpenAI, vLLM, Ollama, the llama.cpp server, ...."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hnlmrec.config import without_credentials
from hnlmrec.encoders.base import Advance, EncoderConfig, Matrix, digest, encode_distinct, require
from hnlmrec.errors import ConfigError, ProviderError, ReplyError, RequestError

if TYPE_CHECKING:
    from openai import OpenAI


_KEYS = "HNLMREC_API_KEY or OPENAI_API_KEY"


class EmbeddingAPIEncoder:
    """An embedding model behind HTTP.

    The key comes from the environment alone, HNLMREC_API_KEY or else OPENAI_API_KEY; a server of your own may
    need none.

    Args:
        model: its name, as the server knows it.
        base_url: address up to and with /v1; None is OpenAI's own.
        timeout: seconds that one request may take.
        max_retries: how often a request is sent again after a fault of the network or the server.

    Raises:
        MissingDependencyError: the extra [llm] is not installed.
        ProviderError: neither an address nor a key is given.
        ConfigError: the address holds credentials.
    """

    def __init__(
        self, model: str, base_url: str | None = None, timeout: float = 60.0, max_retries: int = 4
    ) -> None:
        require("openai", "llm")
        self._model_name = model
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if self._base_url is not None:
            _refuse_credentials(self._base_url)
        if self._base_url is None and not _api_key():
            raise ProviderError(
                "the embedding API needs an address or a key: set encoder.base_url to that of your server, or the "
                f"environment variable {_KEYS} to the key of OpenAI's."
            )
        self._timeout, self._max_retries = timeout, max_retries

    @classmethod
    def from_config(cls, config: EncoderConfig) -> EmbeddingAPIEncoder:
        """Build it from the fields model and base_url."""
        return cls(config.model, config.base_url)

    @cached_property
    def size(self) -> int:
        """Length d of a vector; one short text is sent to learn it."""
        return int(self._encode_batch(["size"]).shape[1])

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the model's name: an API shows no more of its weights."""
        return digest("api", self._model_name)

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: Advance | None = None) -> Matrix:
        """Return float32 [len(texts), d]; see `TextEncoder.encode`."""
        return encode_distinct(texts, batch_size, self._encode_batch, lambda: self.size, progress)

    def _encode_batch(self, texts: list[str]) -> Matrix:
        import openai  # noqa: PLC0415 - optional

        try:
            reply = self._client.embeddings.create(model=self._model_name, input=texts, encoding_format="float")
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ProviderError(
                f"{self._where} refused the credentials ({_said(error)}). Check {_KEYS}."
            ) from error
        except openai.NotFoundError as error:
            raise ProviderError(
                f"{self._where} has no embedding model {self._model_name!r} ({_said(error)})."
            ) from error
        except openai.APIStatusError as error:
            raise RequestError(
                f"{self._where} could not encode {len(texts)} texts: HTTP {error.status_code}."
            ) from error
        except openai.APIConnectionError as error:
            raise ProviderError(
                f"{self._where} cannot be reached ({_said(error)}). Start the server, or mend encoder.base_url."
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            raise ReplyError(f"{self._where} sent a reply that cannot be read ({_said(error)}).") from error
        return self._matrix(len(texts), reply.data)

    def _matrix(self, n: int, data: Sequence[object]) -> Matrix:
        found = ((getattr(row, "index", -1), getattr(row, "embedding", None)) for row in data or ())
        rows = sorted(found, key=lambda row: row[0])
        lengths = {len(vector) if isinstance(vector, list) else 0 for _, vector in rows}
        if [index for index, _ in rows] != list(range(n)) or len(lengths) != 1 or 0 in lengths:
            raise ReplyError(f"{self._where} sent {len(rows)} vectors of lengths {sorted(lengths)} for {n} texts.")
        return np.array([vector for _, vector in rows], dtype=np.float32)

    @property
    def _where(self) -> str:
        return f"the embedding API at {self._base_url or 'api.openai.com'}"

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI  # noqa: PLC0415 - optional

        return OpenAI(
            api_key=_api_key() or "none",  # servers of one's own take any
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=self._max_retries,
        )


def _refuse_credentials(url: str) -> None:
    try:
        without_credentials(url)
    except ValueError as error:
        raise ConfigError(f"the address of the embedding API: {error}.") from None


def _said(error: object) -> str:
    """Return what an error says, without the key that a server may have put into it."""
    key = _api_key()
    return str(error).replace(key, "[key]") if key else str(error)


def _api_key() -> str | None:
    return os.environ.get("HNLMREC_API_KEY") or os.environ.get("OPENAI_API_KEY")
