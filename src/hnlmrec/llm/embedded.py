"""llama.cpp in this process: a chat model from a GGUF file, without a server to set up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hnlmrec.errors import MissingDependencyError, MissingFileError, ProviderError, RequestError
from hnlmrec.llm.chat_format import completion_of, request_body
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message

_QUIET = 0  # llama.cpp then reports nothing but errors


class EmbeddedChatClient:
    """A chat model that llama.cpp runs here. `complete` may be called from as many threads as there are slots.

    Replies are constrained to the JSON schema by a grammar. With temperature 0 a reply depends on the messages
    alone, but for the last bits of float sums, which change with the number of requests that run together.

    Args:
        model_path: a GGUF file.
        n_parallel: number of requests that run together; more wait.
        context_tokens: room for the prompt and the reply of one request.
        n_threads: CPU threads; None for the cores that this process may use.

    Raises:
        MissingDependencyError: `xllamacpp` is not installed.
        MissingFileError: no such GGUF file.
        ProviderError: llama.cpp cannot load the file.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        n_parallel: int = 4,
        context_tokens: int = 2048,
        n_threads: int | None = None,
    ) -> None:
        if not model_path.is_file():
            raise MissingFileError(
                f"there is no model file {model_path}; the embedded provider needs a GGUF file."
            )
        self.model_path = model_path
        self._server: Any = _start(model_path, n_parallel, context_tokens, n_threads or _usable_cores())

    @property
    def base_url(self) -> str:
        """Where the same model answers by HTTP as an OpenAI-compatible server, on the loopback interface."""
        return f"{self._server.listening_address}/v1"

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Return the reply. Raises RequestError where llama.cpp refuses the request (a prompt too long, say)."""
        body = {**request_body(messages, config), "cache_prompt": True}
        try:
            answer: Mapping[str, Any] = self._server.handle_chat_completions(body)
        except (ValueError, RuntimeError) as error:
            raise RequestError(f"llama.cpp refused the request: {error}.") from error
        if "error" in answer:
            raise RequestError(
                f"llama.cpp refused the request: {answer['error'].get('message', answer['error'])}."
            )
        return completion_of(answer)

    def close(self) -> None:
        """Unload the model."""
        self._server = None


def _start(model_path: Path, n_parallel: int, context_tokens: int, n_threads: int) -> Any:
    try:
        import xllamacpp  # noqa: PLC0415 - an optional package
    except ImportError:
        raise MissingDependencyError("xllamacpp", "embedded") from None
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path)
    params.n_parallel = n_parallel
    params.n_ctx = n_parallel * context_tokens
    params.cpuparams.n_threads = n_threads
    params.cpuparams_batch.n_threads = n_threads
    params.n_threads_http = n_parallel + 2
    params.port = 0  # any free one
    params.verbosity = _QUIET
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, OSError) as error:
        raise ProviderError(
            f"llama.cpp cannot load {model_path}: {error}. Is it a whole GGUF file of a supported model?"
        ) from error


def _usable_cores() -> int:
    with contextlib.suppress(AttributeError):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
