"""One chat client for all stages of a run, opened by the first that needs it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hnlmrec.artifacts import sha256_of
from hnlmrec.assets import ASSETS, asset_fingerprint, fetch
from hnlmrec.errors import MissingFileError
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.providers import LLMConfig, open_client


class LLMSession:
    """Opens the model when it is first asked for, and closes it at the end of the block.

    Args:
        config: the run's section `llm`.
        cache: SQLite file of the replies.
    """

    def __init__(self, config: LLMConfig, cache: Path) -> None:
        self.config = config
        self._cache = cache
        self._stack = ExitStack()
        self._client: CachedChatClient | None = None

    def __enter__(self) -> LLMSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def client(self) -> CachedChatClient:
        """The client; loading an embedded model takes a second or two."""
        if self._client is None:
            model_path = gguf_path(self.config.model) if self.config.provider == "embedded" else None
            client = open_client(self.config, model_path=model_path)
            self._client = CachedChatClient(client, self._cache)
            self._stack.callback(self._client.close)
        return self._client


def model_content(config: LLMConfig) -> dict[str, str]:
    """Return what tells the content of an embedded model's file; nothing for a model behind an endpoint."""
    if config.provider != "embedded":
        return {}
    if config.model in ASSETS:
        return {"model": asset_fingerprint(config.model)}
    return {"model": sha256_of(gguf_path(config.model))}


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
