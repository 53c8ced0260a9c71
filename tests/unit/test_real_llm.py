"""SmolLM2 for real: in this process, through HTTP, and on to the text encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from text_world import prepared

from hnlmrec.assets import fetch
from hnlmrec.encoders import SentenceTransformerEncoder
from hnlmrec.errors import MissingFileError, ProviderError, RequestError
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.hard_negatives import HardNegativesConfig, generate_hard_negatives
from hnlmrec.generation.profiles import ProfilesConfig, generate_profiles, read_profiles
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.providers import EmbeddedChatClient, LLMConfig, open_client
from hnlmrec.rng import RandomStreams

pytestmark = pytest.mark.real_llm
pytest.importorskip("xllamacpp")

# One thread: llama.cpp's threads wait for one another by spinning, which is slow where other processes run.
CONFIG = LLMConfig(concurrency=2, context_tokens=1024, n_threads=1)


@pytest.fixture(scope="module")
def model() -> Iterator[EmbeddedChatClient]:
    client = open_client(CONFIG, model_path=fetch(CONFIG.model))
    assert isinstance(client, EmbeddedChatClient)
    yield client
    client.close()


@pytest.mark.slow
def test_profiles_and_negatives_are_written_parsed_and_encoded(model: EmbeddedChatClient, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    catalogue = TextCatalogue.load(prepared(tmp_path / "data"))
    catalogue = replace(  # a few rows only: the rest has profiles already
        catalogue, item_profiles=[None] * 6 + ["An item."] * 4, user_profiles=[None, *["Likes films."] * 2]
    )
    client = CachedChatClient(model, tmp_path / "cache.sqlite")
    streams = RandomStreams(0)
    common = {"client": client, "completion": CONFIG.completion(), "streams": streams, "concurrency": 2}
    summary = generate_profiles(catalogue, ProfilesConfig(), out=tmp_path / "profiles", **common)  # type: ignore[arg-type]
    items = read_profiles(tmp_path / "profiles", "item")
    users = read_profiles(tmp_path / "profiles", "user")
    assert summary.requested == 7
    assert summary.succeeded >= 5
    assert len(items) + len(users) == summary.succeeded + summary.given
    assert summary.completion_tokens / summary.requests < 100
    named = sum(catalogue.names[int(id_[1:])].casefold() in text.casefold() for id_, text in items.items())
    assert named >= 4  # they speak of their own item
    negatives = generate_hard_negatives(
        catalogue,
        HardNegativesConfig(max_pairs_per_user=1),
        item_profiles=items,
        user_profiles=users,
        out=tmp_path / "negatives",
        **common,  # type: ignore[arg-type]
    )
    assert negatives.outcomes["catalogue"] == negatives.rows.succeeded >= 1
    vectors = SentenceTransformerEncoder("all-minilm-l6-v2", device="cpu").encode(list(items.values()))
    assert vectors.shape == (len(items), 384)
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(4), axis=0)) >= 6


def test_the_same_model_answers_by_http(model: EmbeddedChatClient) -> None:
    template = PromptTemplate.load("item_profile")
    config = LLMConfig(provider="openai", base_url=model.base_url, max_retries=0)
    client = open_client(config)
    messages = template.render(title="Alien", facts="1979; Horror, Sci-Fi", reviews=[])
    completion = client.complete(messages, config.completion(template.json_schema()))
    client.close()
    assert completion.finish_reason == "stop"
    assert completion.prompt_tokens > 100
    assert 10 < completion.completion_tokens < 100
    template.parse(completion.text)


def test_an_enum_is_kept_to(model: EmbeddedChatClient) -> None:
    template = PromptTemplate.load("hard_negative_constrained")
    names = ['A "quoted" \\ name', "Ünïcode 漢字", "Plain"]
    fields = {"user_profile": "Likes names.", "positive": {"title": "X"}}
    candidates = [{"title": name, "facts": ""} for name in names]
    messages = template.render(**fields, candidates=candidates)
    completion = model.complete(messages, CONFIG.completion(template.json_schema(names)))
    assert json.loads(completion.text)["name"] in names


def test_truncation_is_told(model: EmbeddedChatClient) -> None:
    config = CONFIG.completion().model_copy(update={"max_tokens": 3})
    assert model.complete([Message("user", "Count to one hundred.")], config).finish_reason == "length"


def test_a_prompt_longer_than_the_context_fails_alone(model: EmbeddedChatClient) -> None:
    with pytest.raises(RequestError, match="context"):
        model.complete([Message("user", "word " * 5000)], CONFIG.completion())


def test_a_schema_that_llama_cpp_does_not_know_fails_alone(model: EmbeddedChatClient) -> None:
    with pytest.raises(RequestError, match="banana"):
        model.complete([Message("user", "hi")], CONFIG.completion({"type": "banana"}))


def test_bad_model_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.gguf"):
        EmbeddedChatClient(tmp_path / "nowhere.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ProviderError, match=r"broken\.gguf"):
        EmbeddedChatClient(broken)
