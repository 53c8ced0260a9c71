"""On a CUDA device: bfloat16 by default, near the CPU's vectors, and a fine-tuning that learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.unit.finetuning_world import planted_triplets, settings, tiny_model, world

from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    FinetuningConfig,
    finetune,
    hard_negative_prompt,
    item_prompt,
)
from hnlmrec.rng import RandomStreams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
PROMPTS = [*(hard_negative_prompt(user, user) for user in range(5)), item_prompt(3)]


@pytest.mark.parametrize("changes", [{}, {"residual": True, "residual_maps": True, "heads": "per_kind"}])
def test_fine_tuning_on_cuda(tmp_path, changes):
    inputs = world()
    options = settings(tiny_model(tmp_path / "model"), **changes)
    encoder = CollaborativeEncoder(options, CFShape.of(inputs), seed=1, device="cuda")
    assert encoder.precision is torch.bfloat16
    config = FinetuningConfig(
        epochs=20, batch_size=8, learning_rate=3e-3, head_learning_rate=3e-3, temperature=0.2, anchor_weight=0.0
    )
    finetune(encoder, planted_triplets([7]), inputs, config, streams=RandomStreams(0), out=tmp_path / "out")
    curve = [json.loads(line)["loss"] for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()]
    assert np.mean(curve[-3:]) < np.mean(curve[:3])
    on_cpu = CollaborativeEncoder.load(tmp_path / "out", device="cpu")
    one, other = encoder.encode(PROMPTS, inputs), on_cpu.encode(PROMPTS, inputs)
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() > 0.98
