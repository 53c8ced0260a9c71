"""What the stages of a run share: models and their caches, opened on demand, and where work is done."""

from __future__ import annotations

import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from hnlmrec.artifacts import sha256_of
from hnlmrec.assets import ASSETS, asset_fingerprint
from hnlmrec.encoders import EncoderConfig, TextEncoder, open_encoder
from hnlmrec.encoders.cache import CachedEncoder
from hnlmrec.encoders.ray_encoder import CHUNK, RayEncoder
from hnlmrec.generation.ray_rows import AbsentChatClient, RowEngine
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import ChatClient
from hnlmrec.llm.providers import LLMConfig, open_client
from hnlmrec.pipeline.engine import gguf_path, model_path, ray_rows, ray_workers
from hnlmrec.ray_workers import disconnect

if TYPE_CHECKING:
    from hnlmrec.pipeline.config import RuntimeConfig


class LLMSession:
    """Opens the model when it is first asked for, and closes it at the end of the block.

    Args:
        config: the run's section `llm`.
        cache: SQLite file of the replies; text_vectors.sqlite beside it has those of the encoders.
        runtime: the run's section `runtime`; None does all work in this process.

    Attributes:
        workers: of a Ray cluster; None where the work is done in this process.
    """

    def __init__(self, config: LLMConfig, cache: Path, runtime: RuntimeConfig | None = None) -> None:
        self.config = config
        self.workers = None if runtime is None else ray_workers(runtime)
        self.engine: RowEngine | None = None
        if runtime is not None and self.workers is not None:
            self.engine = ray_rows(self.workers, config, vllm=runtime.ray_vllm)
        self._cache = cache
        self._stack = ExitStack()
        self._client: CachedChatClient | None = None

    def __enter__(self) -> LLMSession:
        # Ray tells of dead workers on stdout, and DeepSpeed of itself: it holds a command's result alone.
        self._stack.enter_context(redirect_stdout(sys.stderr))
        if self.workers is not None:
            self._stack.callback(disconnect)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def client(self) -> CachedChatClient:
        """The client; loading an embedded model takes a second or two. With an engine, the cache alone."""
        if self._client is None:
            self._client = CachedChatClient(self._open(), self._cache)
            self._stack.callback(self._client.close)
        return self._client

    @property
    def chunk_size(self) -> int:
        """How many texts an encoder should be given at once: a few chunks for each worker."""
        return CHUNK if self.workers is None else CHUNK * 8 * self.workers.n_workers

    def encoder(self, config: EncoderConfig) -> TextEncoder:
        """Return a text encoder that encodes no text twice, run by the workers where there are any."""
        encoder = open_encoder(config) if self.workers is None else RayEncoder(config, self.workers)
        if not config.cache:
            return encoder
        cached = CachedEncoder(encoder, self._cache.with_name("text_vectors.sqlite"))
        self._stack.callback(cached.close)
        return cached

    def _open(self) -> ChatClient:
        if self.engine is not None:
            return AbsentChatClient()
        return open_client(self.config, model_path=model_path(self.config))


def model_content(config: LLMConfig) -> dict[str, str]:
    """Return what tells the content of an embedded model's file; nothing for a model behind an endpoint."""
    if config.provider != "embedded":
        return {}
    if config.model in ASSETS:
        return {"model": asset_fingerprint(config.model)}
    return {"model": sha256_of(gguf_path(config.model))}
