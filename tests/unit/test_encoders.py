"""Encoders: one vector a text, whatever its neighbours; honest about what is missing."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.assets import ASSETS, Asset, AssetFile
from hnlmrec.config import build, fingerprint_fields
from hnlmrec.encoders import (
    ENCODERS,
    CausalLMEncoder,
    EncoderConfig,
    HashingEncoder,
    NoiseEncoder,
    SentenceTransformerEncoder,
    join_fields,
    open_encoder,
    weights,
)
from hnlmrec.encoders.base import encode_distinct
from hnlmrec.encoders.weights import ModelFiles, gguf_file, locate, weights_digest
from hnlmrec.errors import ConfigError, CorruptArtifactError, MissingDependencyError, MissingFileError, ReplyError


def test_every_name_of_the_config_is_in_the_table():
    assert set(ENCODERS) == set(EncoderConfig.model_fields["name"].annotation.__args__)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 5))
def test_a_row_depends_on_its_own_text_only(texts, batch_size):
    encoder = HashingEncoder(16)
    together = encoder.encode(texts, batch_size=batch_size)
    alone = [encoder.encode([text])[0] for text in texts]
    assert together.shape == (len(texts), 16)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, np.array(alone, dtype=np.float32).reshape(len(texts), 16))


def test_hashing_is_the_same_everywhere_and_knows_words():
    encoder = HashingEncoder()
    near, nearer, far = encoder.encode(["Toy Story", "Toy Story 2", "Pulp Fiction"])
    assert near @ nearer > 0.7
    assert near @ far < 0.3
    assert np.flatnonzero(HashingEncoder(8).encode(["a b"])[0]).tolist() == [6, 7]  # pins the algorithm
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(["x", "y z"]), axis=1), 1.0, rtol=1e-6)


def test_noise_is_the_same_everywhere_and_knows_nothing_of_a_text():
    vectors = NoiseEncoder(256).encode(["Toy Story", "Toy Story 2", "Toy Story", ""], batch_size=1)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not vectors[3].any()
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert abs(cosine) < 4 / 16  # four standard deviations of two random directions' in 256 dimensions
    np.testing.assert_allclose(vectors[0].std(), 1.0, atol=0.2)
    np.testing.assert_allclose(NoiseEncoder(2).encode(["Heat"]), [[-0.875376, -0.003208]], atol=1e-6)  # pins it


def test_blank_texts_have_zero_rows_and_are_never_sent():
    seen = []

    def encode_batch(texts):
        seen.extend(texts)
        return np.ones((len(texts), 3), dtype=np.float32)

    vectors = encode_distinct(["a", "", " \n", "a", "bb"], 8, encode_batch, lambda: 3, None)
    assert vectors.any(axis=1).tolist() == [True, False, False, True, True]
    assert seen == ["bb", "a"]  # each once, the longest first


def test_only_blank_texts_need_no_request_but_the_size():
    assert encode_distinct([""], 8, pytest.fail, lambda: 5, None).shape == (1, 5)


def test_values_that_are_not_finite_are_an_error():
    with pytest.raises(ReplyError, match="not finite"):
        encode_distinct(["a"], 1, lambda texts: np.full((1, 2), np.nan), lambda: 2, None)


def test_half_a_surrogate_pair_does_not_break():
    assert np.isfinite(HashingEncoder(8).encode(["bad \ud800 text"])).all()


def test_progress_counts_every_text():
    told = []
    HashingEncoder(8).encode(["a", "b", "a", "", "c"], batch_size=2, progress=lambda *now: told.append(now))
    assert told == [(4, 5), (5, 5)]


def test_fields_are_joined_without_holes():
    row = {"title": "Toy Story (1995)", "facts": "", "profile": None}
    assert join_fields(row, ("title", "facts", "profile")) == "Toy Story (1995)."
    assert join_fields({**row, "profile": "Fun!", "facts": "1995"}, ("profile", "facts")) == "Fun! 1995."
    assert join_fields(row, ("facts",)) == ""


def test_what_changes_speed_only_is_no_part_of_the_key():
    fast = EncoderConfig(batch_size=512, device="cuda", base_url="http://localhost/v1")
    assert fingerprint_fields(fast) == fingerprint_fields(EncoderConfig())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "sentence"}, "causal_lm"),
        ({"batch_size": 0}, "batch_size"),
        ({"pooling": "last"}, "causal_lm only"),
        ({"name": "hashing", "max_length": 5}, "not read by hashing"),
        ({"name": "noise", "max_length": 5}, "not read by noise"),
        ({"item_fields": ["name"]}, "item_fields"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(EncoderConfig, values)


def test_a_model_that_is_not_there_lists_the_assets():
    with pytest.raises(MissingFileError, match=r"did you mean 'all-minilm-l6-v2'"):
        open_encoder(EncoderConfig(model="all-minilm-l6"))


def test_a_folder_without_weights_is_no_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match="holds no model"):
        weights_digest(tmp_path)


@pytest.mark.parametrize(("weights_name", "entry"), [("model.safetensors", ""), ("model.gguf", "model.gguf")])
def test_an_asset_is_told_by_its_pinned_digests_and_fetched_when_it_is_read(
    tmp_path, monkeypatch, weights_name, entry
):
    files = {"1_Pooling/config.json": b"p", "config.json": b"c", weights_name: b"w", "README.md": b"not read"}
    pinned = []
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        pinned.append(AssetFile(name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setitem(ASSETS, "known", Asset("a model", tuple(pinned), (), kind="model", entry=entry))
    fetched = []
    monkeypatch.setattr(weights, "fetch", lambda name: fetched.append(name) or tmp_path / entry)
    model = ModelFiles("known")
    assert model.digest == weights_digest(tmp_path / entry)
    assert model.is_gguf == bool(entry)
    assert not fetched
    assert model.path == tmp_path / entry
    assert fetched == ["known"]


def test_the_fingerprint_follows_the_files_not_their_place(tmp_path):
    def model(name, weights):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "README.md").write_text(name)
        return str(folder)

    one, copy, other = model("one", b"1"), model("copy", b"1"), model("other", b"2")
    fingerprint = SentenceTransformerEncoder(one).fingerprint
    assert fingerprint == SentenceTransformerEncoder(copy).fingerprint
    assert fingerprint != SentenceTransformerEncoder(other).fingerprint
    assert fingerprint != SentenceTransformerEncoder(one, max_length=8).fingerprint
    prints = {
        CausalLMEncoder(one).fingerprint,
        CausalLMEncoder(one, pooling="last").fingerprint,
        CausalLMEncoder(one, max_length=8).fingerprint,
        CausalLMEncoder(one, template="query: {text}").fingerprint,
    }
    assert len(prints) == 4


def test_a_template_must_hold_the_text():
    with pytest.raises(ConfigError, match=r"must hold \{text\}"):
        CausalLMEncoder("unused", template="query")


def test_two_gguf_files_are_one_too_many(tmp_path):
    (tmp_path / "a.gguf").touch()
    assert gguf_file(locate(str(tmp_path))) == tmp_path / "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(MissingFileError, match=r"2 GGUF files \(a.gguf, b.gguf\)"):
        gguf_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("sentence_transformer", "sentence_transformers", "text"),
        ("causal_lm", "transformers", "text"),
        ("api", "openai", "llm"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, name, package, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == package else wanted)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'hnlmrec\[{extra}\]'"):
        open_encoder(EncoderConfig(name=name))


def test_importing_the_encoders_loads_no_heavy_package():
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'openai'}"
    code = f"import sys, hnlmrec.encoders; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
