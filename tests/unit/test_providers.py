"""The table of providers and the settings of the language model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hnlmrec.config import build, fingerprint_fields
from hnlmrec.errors import ConfigError, MissingDependencyError
from hnlmrec.llm.providers import PROVIDERS, LLMConfig, OpenAIChatClient, open_client

RESULT_FIELDS = {"provider", "model", "temperature", "frequency_penalty", "seed", "max_tokens"}


def test_only_what_decides_replies_is_in_the_key() -> None:
    assert set(fingerprint_fields(LLMConfig())) == RESULT_FIELDS


def test_a_request_takes_the_settings() -> None:
    config = LLMConfig(model="m", temperature=0.5, seed=9, max_tokens=11).completion({"type": "object"})
    assert (config.model, config.temperature, config.seed, config.max_tokens) == ("m", 0.5, 9, 11)
    assert config.json_schema == {"type": "object"}


@pytest.mark.parametrize(
    "values",
    [{"provider": "smoke signals"}, {"temperature": -1}, {"concurrency": 0}, {"max_tokens": 0}, {"modle": "x"}],
)
def test_bad_settings_are_told(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        build(LLMConfig, values)


def test_every_provider_can_be_chosen() -> None:
    for name in PROVIDERS:
        assert build(LLMConfig, {"provider": name}).provider == name


def test_the_embedded_provider_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="model_path"):
        open_client(LLMConfig())


def test_the_http_provider_is_opened_without_a_request() -> None:
    client = open_client(LLMConfig(provider="openai", base_url="http://127.0.0.1:9/v1"))
    assert isinstance(client, OpenAIChatClient)
    client.close()


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    model = tmp_path / "model.gguf"
    model.touch()
    with pytest.raises(MissingDependencyError, match=r"hnlmrec\[embedded\]"):
        open_client(LLMConfig(), model_path=model)
