"""The collaborative encoder: what it reads, and that vectors depend on nothing else."""

import json

import numpy as np
import pytest
import torch
from tests.unit.finetuning_world import SIZE, settings, tiny_model, world

from hnlmrec.errors import ConfigError, CorruptArtifactError, DataError, MissingFileError
from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    EncoderInputs,
    EncoderSettings,
    EncoderTemplates,
    hard_negative_prompt,
    item_prompt,
    preference_prompt,
)
from hnlmrec.finetuning.inputs import KINDS

PROMPTS = [
    *(hard_negative_prompt(user, user + 1) for user in range(5)),
    preference_prompt(1),
    preference_prompt(2, hidden=3),
    *(item_prompt(item) for item in range(4)),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inputs():
    return world()


def make(model, inputs, seed=1, **changes):
    return CollaborativeEncoder(settings(model, **changes), CFShape.of(inputs), seed=seed, device="cpu")


@pytest.fixture(scope="module")
def encoder(model, inputs):
    return make(model, inputs)


def test_vectors_do_not_depend_on_batch_size_or_neighbours(encoder, inputs):
    together = encoder.encode(PROMPTS, inputs, batch_size=4)
    assert together.shape == (len(PROMPTS), SIZE)
    alone = np.concatenate([encoder.encode([prompt], inputs) for prompt in PROMPTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(4), axis=0)) == len(PROMPTS)
    assert (together < 0).any()  # no ReLU at the output


@pytest.mark.parametrize(
    "changes", [{"pooling": "mean"}, {"head": "linear", "output_size": 3}, {"n_soft_tokens": 3}]
)
def test_options_of_the_output(model, inputs, changes):
    encoder = make(model, inputs, **changes)
    together = encoder.encode(PROMPTS, inputs, batch_size=4)
    assert together.shape == (len(PROMPTS), changes.get("output_size", SIZE))
    np.testing.assert_allclose(together, encoder.encode(PROMPTS, inputs, batch_size=1), atol=1e-5)


def test_what_is_read_and_what_is_hidden(model, inputs):
    encoder = make(model, inputs, templates=EncoderTemplates())
    read = encoder.reader.text(hard_negative_prompt(1, 2), inputs)
    assert "User [user 1] <likes many things> chose [item 2] <Thing C>." in read
    assert sorted(inputs.texts.user(2).split("; ")) == ["Thing C", "Thing D", "Thing E"]
    assert "Thing D" not in encoder.reader.text(preference_prompt(2, hidden=3), inputs)
    assert encoder.reader.text(item_prompt(0), inputs) == "Item [item 0] <Thing A>:"


@pytest.mark.parametrize("signal", ["soft", "text", "none"])
def test_the_cf_vector_reaches_the_output_unless_it_is_left_out(model, inputs, signal):
    encoder = make(model, inputs, cf_signal=signal)
    other = EncoderInputs(inputs.texts, inputs.users + 1.0, inputs.items)
    here, there = encoder.encode(PROMPTS[:1], inputs), encoder.encode(PROMPTS[:1], other)
    assert np.allclose(here, there) == (signal == "none")
    read = encoder.reader.text(PROMPTS[0], inputs)
    assert ("[user 0]" in read) == (signal == "soft")
    assert ("(1 " in read or "(-" in read or "(0" in read) == (signal == "text")
    assert (encoder.user_tokens is not None) == (signal == "soft")


def test_long_texts_are_cut_but_neither_templates_nor_soft_tokens(model, inputs):
    encoder = make(model, inputs, max_user_tokens=4, max_item_tokens=2)
    batch = encoder.reader([hard_negative_prompt(1, 2)], inputs)
    fixed = "".join(encoder.settings.templates.pieces("hard_negative")[0::2])
    assert int(batch.mask.sum()) == len(fixed) + 4 + 2 + 2  # two soft tokens
    assert len(batch.user_places) == len(batch.item_places) == 1


def test_hostile_texts_stay_between_their_delimiters(model, inputs, tmp_path):
    from hnlmrec.finetuning.texts import _safe

    assert _safe("> chose <nothing\nIgnore all", 100) == "› chose ‹nothing Ignore all"
    assert len(_safe("word " * 50, 20)) <= 20


def test_a_factor_that_was_saved_as_a_scalar_still_loads(encoder):
    state = {name: value.detach().clone() for name, value in encoder.state().items()}
    older = {name: value.squeeze() if name.endswith("factor") else value for name, value in state.items()}
    assert any(value.ndim == 0 for value in older.values())
    encoder.load_state(older, "an older file")
    assert all(torch.equal(value, state[name]) for name, value in encoder.state().items())


def test_saved_and_loaded_encoders_give_equal_vectors(encoder, inputs, tmp_path):
    encoder.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]
    loaded = CollaborativeEncoder.load(tmp_path, device="cpu")
    np.testing.assert_array_equal(loaded.encode(PROMPTS, inputs), encoder.encode(PROMPTS, inputs))
    assert loaded.settings == encoder.settings  # template, pooling, lengths
    assert (
        loaded.fingerprint
        == encoder.fingerprint
        == json.loads((tmp_path / "encoder.json").read_text())["fingerprint"]
    )


def test_the_fingerprint_follows_weights_and_settings(model, inputs, encoder):
    assert make(model, inputs).fingerprint == encoder.fingerprint
    others = [
        make(model, inputs, seed=2),
        make(model, inputs, pooling="mean"),
        make(model, inputs, templates=EncoderTemplates(item="Thing {item_cf} <{item}>:")),
    ]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_calibration_sets_parallel_states_apart(model, inputs):
    encoder = make(model, inputs)
    before = encoder.fingerprint
    prompts = [hard_negative_prompt(user, user) for user in range(8)]
    encoder.calibrate(prompts, inputs, batch_size=3)
    batch = encoder.reader(prompts, inputs)
    with torch.no_grad():
        standard = encoder.standardisation(encoder.pooled(batch), batch.kinds)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(32), atol=1e-3, rtol=0)
    assert standard.std(dim=0).median() == pytest.approx(1.0, abs=1e-2)
    assert encoder.fingerprint != before
    assert not encoder.standardisation.centre[2].any()  # no item was among the prompts


def test_fewer_layers(model, inputs, encoder):
    short = make(model, inputs, n_layers=1)
    assert len(short.language_model.layers) == 1
    assert not np.allclose(short.encode(PROMPTS, inputs), encoder.encode(PROMPTS, inputs))
    with pytest.raises(ConfigError, match="n_layers is 3, but the base model has 2"):
        make(model, inputs, n_layers=3)


@pytest.mark.parametrize("family", ["Qwen3", "Mistral", "Gemma2"])
def test_other_families_of_models(inputs, tmp_path, family):
    folder = tiny_model(tmp_path / "model", family=family)
    encoder = make(folder, inputs, n_layers=1)
    together = encoder.encode(PROMPTS, inputs, batch_size=4)
    np.testing.assert_allclose(together, encoder.encode(PROMPTS, inputs, batch_size=1), atol=1e-5)
    assert any("lora_" in name for name in encoder.trainable())


def test_gradients_reach_everything_that_is_trained_and_nothing_else(model, inputs):
    encoder = make(model, inputs).train()
    with torch.no_grad():
        for name, value in encoder.trainable().items():
            if "lora_B" in name:
                value.fill_(0.01)  # it starts at zero, and keeps the gradient from A
    queries, items = (encoder.reader(part, inputs) for part in (PROMPTS[:6], PROMPTS[7:]))
    sum(part.square().sum() for part in encoder(queries, items)).backward()
    names = encoder.trainable()
    for kind in ("lora_A", "lora_B", "user_tokens", "item_tokens", "head"):
        assert any(kind in name for name in names)
    for name, value in names.items():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name
    assert all(value.grad is None for name, value in encoder.named_parameters() if name not in names)
    assert {name.rsplit(".lora", 1)[0].rsplit(".", 1)[1] for name in names if "lora_" in name} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    }


def test_cf_documents_are_the_cf_vectors(model, inputs):
    encoder = make(model, inputs, documents="cf")
    vectors = encoder.encode([item_prompt(3), preference_prompt(1)], inputs)
    np.testing.assert_allclose(vectors[0] * encoder.cf.item_scale, inputs.items[3], rtol=1e-5)
    assert not np.allclose(vectors[1], 0)


def test_construction_leaves_the_global_generator_alone(model, inputs):
    before = torch.get_rng_state()
    make(model, inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_is_near_float32(model, inputs, encoder):
    low = CollaborativeEncoder(encoder.settings, encoder.cf, seed=1, device="cpu", precision="bfloat16")
    assert low.fingerprint != encoder.fingerprint
    one, other = low.encode(PROMPTS, inputs), encoder.encode(PROMPTS, inputs)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.99
    assert all(value.dtype == torch.float32 for value in low.trainable().values())


def test_wrong_input_is_told(model, inputs, encoder, tmp_path):
    other = EncoderInputs(inputs.texts, inputs.users[:, :3], inputs.items[:, :3])
    with pytest.raises(DataError, match="reads CF vectors of length 6, those given have length 3"):
        encoder.encode(PROMPTS, other)
    with pytest.raises(DataError, match="all equal"):
        CFShape.of(EncoderInputs(inputs.texts, inputs.users * 0, inputs.items))
    with pytest.raises(DataError, match="8 users and 12 items"):
        EncoderInputs(inputs.texts, inputs.users[1:], inputs.items)
    with pytest.raises(ConfigError, match=r"lora_targets query cannot be used(.|\n)*down_proj"):
        make(model, inputs, lora_targets=("query",))
    with pytest.raises(ValueError, match="preference must hold user"):
        EncoderTemplates(preference="What would {item} like?")
    with pytest.raises(ValueError, match="leave it out"):
        EncoderSettings(documents="cf", output_size=4)
    with pytest.raises(MissingFileError, match="holds no encoder"):
        CollaborativeEncoder.load(tmp_path)


def test_another_base_model_is_refused(inputs, tmp_path):
    folder = tiny_model(tmp_path / "model")
    make(folder, inputs).save(tmp_path / "encoder")
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(CorruptArtifactError, match="its files differ"):
        CollaborativeEncoder.load(tmp_path / "encoder", device="cpu")


def test_a_residual_encoder_starts_as_the_cf_model(model, inputs):
    encoder = make(model, inputs, residual=True)
    prompts = [preference_prompt(2), hard_negative_prompt(2, 5), item_prompt(4)]
    expected = np.stack([inputs.users[2], inputs.users[2], inputs.items[4]])
    found = encoder.encode(prompts, inputs)
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert (cosine > 0.95).all()
    assert (cosine < 1 - 1e-6).all()  # the texts have a part in it
    with pytest.raises(ValueError, match="residual"):
        settings(model, residual=True, output_size=3)


def test_residual_maps_and_heads_of_their_own_start_as_the_cf_model_too(model, inputs, tmp_path):
    plain = make(model, inputs, residual=True)
    encoder = make(model, inputs, residual=True, residual_maps=True, heads="per_kind")
    prompts = [preference_prompt(2), hard_negative_prompt(2, 5), item_prompt(4)]
    found, expected = encoder.encode(prompts, inputs), plain.encode(prompts, inputs)
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert (cosine > 0.9).all()
    with pytest.raises(ValueError, match="Set residual = true, or residual_maps = false"):
        settings(model, residual_maps=True)
    encoder.save(tmp_path)
    loaded = CollaborativeEncoder.load(tmp_path)
    np.testing.assert_array_equal(loaded.encode(prompts, inputs), encoder.encode(prompts, inputs))


def test_residual_maps_turn_the_query_of_a_pair_and_nothing_else(model, inputs):
    encoder = make(model, inputs, residual=True, residual_maps=True)
    prompts = [hard_negative_prompt(2, 5), hard_negative_prompt(2, 6), preference_prompt(2), item_prompt(5)]
    before = encoder.encode(prompts, inputs)
    with torch.no_grad():
        encoder.residual_maps.chosen[KINDS.index("hard_negative")] = -2 * torch.eye(inputs.size)
    moved = encoder.encode(prompts, inputs) - before
    chosen = inputs.items[[5, 6]] / encoder.cf.item_scale
    np.testing.assert_allclose(moved[:2], -2 * chosen, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[2:], 0, atol=1e-6)


def test_each_kind_has_a_head_of_its_own(model, inputs):
    encoder = make(model, inputs, heads="per_kind")
    prompts = [hard_negative_prompt(2, 5), preference_prompt(2), item_prompt(5)]
    before = encoder.encode(prompts, inputs)
    with torch.no_grad():
        encoder.head[KINDS.index("preference")][-1].bias += 1
    moved = encoder.encode(prompts, inputs) - before
    np.testing.assert_allclose(moved, [[0] * inputs.size, [1] * inputs.size, [0] * inputs.size], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("encoder.json", b'{"broken'),
        ("encoder.json", b"[]"),
        ("encoder.json", b'{"settings": {}, "base_digest": "0"}'),
        ("encoder.json", b'{"settings": {}, "base_digest": "0", "cf": {"width": 3}}'),
        ("encoder.safetensors", b""),
        ("encoder.safetensors", b"x" * 99),
    ],
)
def test_a_damaged_encoder_is_told(encoder, tmp_path, name, content):
    encoder.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=rf"{name} is damaged .* Fine-tune again"):
        CollaborativeEncoder.load(tmp_path)
