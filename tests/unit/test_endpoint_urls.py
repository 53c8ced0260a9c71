"""Credentials in a URL are refused before anything is written, and are not shown."""

from __future__ import annotations

import pytest

from hnlmrec.config import Config, build
from hnlmrec.encoders.api import EmbeddingAPIEncoder
from hnlmrec.encoders.base import EncoderConfig
from hnlmrec.errors import ConfigError
from hnlmrec.llm.openai_client import OpenAIChatClient
from hnlmrec.llm.providers import LLMConfig

SECRET = "s3cr3t-of-this-test"  # pragma: allowlist secret
URLS = [
    f"http://me:{SECRET}@host/v1",
    f"https://{SECRET}@host:8000/v1",
    f"http://host/v1?key={SECRET}",
    f"http://host/v1#{SECRET}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", [LLMConfig, EncoderConfig])
def test_a_config_takes_no_url_with_credentials(kind: type[Config], url: str) -> None:
    with pytest.raises(ConfigError, match="HNLMREC_API_KEY") as told:
        build(kind, {"base_url": url})
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("url", URLS)
def test_nor_does_a_client_take_one_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    for opened in (OpenAIChatClient, lambda: EmbeddingAPIEncoder("m")):
        with pytest.raises(ConfigError, match="HNLMREC_API_KEY") as told:
            opened()
        assert SECRET not in str(told.value)


def test_an_address_alone_is_taken() -> None:
    for url in ("http://127.0.0.1:11434/v1", "https://api.example/v1/@model", "http://[::1]:80/v1"):
        assert build(LLMConfig, {"base_url": url}).base_url == url
