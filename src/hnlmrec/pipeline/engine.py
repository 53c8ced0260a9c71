"""Where the work of the text side is done: in this process, or by the workers of a Ray cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hnlmrec.assets import ASSETS, fetch
from hnlmrec.errors import ConfigError, MissingFileError
from hnlmrec.generation.ray_rows import RayRows
from hnlmrec.llm.client import ChatClient, ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.providers import LLMConfig, OpenAIChatClient, open_client
from hnlmrec.llm.vllm_server import VLLMServer
from hnlmrec.ray_workers import RayWorkers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hnlmrec.pipeline.config import RuntimeConfig


def ray_workers(config: RuntimeConfig) -> RayWorkers | None:
    """Return the workers that a run's section `runtime` asks for; None where the work is done in this process.

    Raises:
        MissingDependencyError: the extra [ray] is not installed.
    """
    if config.engine == "local":
        return None
    return RayWorkers(
        config.ray_address, config.ray_workers, config.ray_cpus_per_worker, config.ray_gpus_per_worker
    )


def ray_rows(workers: RayWorkers, config: LLMConfig, *, vllm: bool) -> RayRows:
    """Return the row engine on these workers.

    Limits of requests and tokens a minute are shared out among them; `llm.concurrency` is that of each.

    Raises:
        ConfigError: vLLM is asked for where it cannot be used.
    """
    if vllm and (config.provider != "openai" or workers.gpus < 1):
        raise ConfigError(
            "runtime.ray_vllm serves the model of llm.provider=openai on whole GPUs; this run has "
            f"llm.provider={config.provider} and runtime.ray_gpus_per_worker={workers.gpus:g}. Set them to openai "
            "and at least 1."
        )
    limits = {
        name: None if value is None else value / workers.n_workers
        for name, value in (
            ("requests_per_minute", config.requests_per_minute),
            ("tokens_per_minute", config.tokens_per_minute),
        )
    }
    n_gpus = int(workers.gpus) if vllm else 0
    opened = partial(open_worker_client, config.model_copy(update=limits), n_gpus)
    return RayRows(workers, opened, config.concurrency)


def open_worker_client(config: LLMConfig, n_gpus: int) -> ChatClient:
    """Open the model in a worker process.

    Args:
        config: the run's section `llm`.
        n_gpus: above 0, a vLLM server is started on that many GPUs and asked.
    """
    if n_gpus:
        return ServedChatClient(config, VLLMServer(config.model, n_gpus))
    return open_client(config, model_path=model_path(config))


class ServedChatClient:
    """A client of a server that lives as long as it does.

    Args:
        config: the run's section `llm`; its address is replaced by the server's.
        server: is closed with the client.
    """

    def __init__(self, config: LLMConfig, server: VLLMServer) -> None:
        self._server = server
        self._client = OpenAIChatClient(
            base_url=server.base_url, timeout_seconds=config.timeout_seconds, max_retries=config.max_retries
        )

    def complete(self, messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        """Return the reply; see `ChatClient`."""
        return self._client.complete(messages, config)

    def close(self) -> None:
        """Close the client, then end the server."""
        self._client.close()
        self._server.close()


def model_path(config: LLMConfig) -> Path | None:
    """Return the file of the embedded model; None for a model behind an endpoint.

    Raises:
        MissingFileError: as `gguf_path`.
    """
    return gguf_path(config.model) if config.provider == "embedded" else None


def gguf_path(model: str) -> Path:
    """Return the file of an embedded model: an asset by name, or a path.

    Raises:
        MissingFileError: it is neither.
    """
    if model in ASSETS:
        return fetch(model)
    path = Path(model).expanduser()
    if not path.is_file():
        names = ", ".join(name for name, asset in ASSETS.items() if asset.kind == "model")
        raise MissingFileError(
            f"llm.model {model!r} is neither the name of a model asset ({names}) nor a GGUF file."
        )
    return path
