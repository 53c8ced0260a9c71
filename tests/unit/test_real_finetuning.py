"""The fine-tuning of a real language model, shortened to two layers."""

import numpy as np
import pytest
from tests.unit.finetuning_world import planted_triplets, world

from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    EncoderSettings,
    FinetuningConfig,
    finetune,
    hard_negative_prompt,
    item_prompt,
)
from hnlmrec.rng import RandomStreams

pytestmark = [pytest.mark.real_llm, pytest.mark.slow]


def test_smollm_learns_planted_triplets_and_comes_back_from_disk(tmp_path, capfd):
    pytest.importorskip("gguf")
    inputs = world()
    encoder = CollaborativeEncoder(EncoderSettings(n_layers=2), CFShape.of(inputs), seed=0, device="cpu")
    triplets = planted_triplets([6, 7])
    config = FinetuningConfig(epochs=10, batch_size=9, gradient_accumulation=1, head_learning_rate=3e-3)
    result = finetune(encoder, triplets, inputs, config, streams=RandomStreams(0), out=tmp_path)
    assert result.steps == 20
    learned = triplets.part(held_out=False)
    pairs = zip(learned.users, learned.positives, strict=True)
    asked = encoder.encode([hard_negative_prompt(user, item) for user, item in pairs], inputs)
    items = encoder.encode([item_prompt(item) for item in range(12)], inputs, batch_size=5)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    gains = (asked * (items[learned.hard] - items[learned.positives])).sum(axis=1)
    assert (gains > 0).mean() > 0.8
    loaded = CollaborativeEncoder.load(tmp_path, device="cpu")
    prompts = [hard_negative_prompt(0, 1), item_prompt(4)]
    np.testing.assert_array_equal(loaded.encode(prompts, inputs), encoder.encode(prompts, inputs))
    alone = np.concatenate([encoder.encode([prompt], inputs) for prompt in prompts])
    np.testing.assert_allclose(encoder.encode(prompts, inputs), alone, atol=1e-4 * np.abs(alone).max())
    assert "GGUF" not in capfd.readouterr().err  # no bars of the loading
