"""An encoder of one data set on the CF vectors of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.finetuning_world import SIZE, settings, tiny_model, world

from hnlmrec.errors import ConfigError, MissingFileError
from hnlmrec.finetuning import CFShape, CollaborativeEncoder, hard_negative_prompt, preference_prompt
from hnlmrec.finetuning.inputs import KINDS
from hnlmrec.finetuning.transfer import adopt_encoder, encoder_digests


@pytest.fixture
def tuned(tmp_path: Path) -> CollaborativeEncoder:
    made = settings(tiny_model(tmp_path / "model", n_layers=1))
    encoder = CollaborativeEncoder(made, CFShape.of(world()), seed=1, device="cpu", precision="float32")
    encoder.save(tmp_path / "tuned")
    return encoder


def test_cf_vectors_of_another_scale_are_read_in_their_own_deviations(
    tuned: CollaborativeEncoder, tmp_path: Path
) -> None:
    here = world()
    there = replace(here, users=7 * here.users, items=0.01 * here.items)
    adopt_encoder(tmp_path / "tuned", there.users, there.items, tmp_path / "adopted", device="cpu")
    adopted = CollaborativeEncoder.load(tmp_path / "adopted", device="cpu")
    prompts = [hard_negative_prompt(0, 1), preference_prompt(2)]
    expected = tuned.encode(prompts, here)
    assert adopted.encode(prompts, there) == pytest.approx(expected, abs=1e-4)
    assert tuned.encode(prompts, there) != pytest.approx(expected, abs=1e-4)
    assert adopted.fingerprint != tuned.fingerprint
    names = ("encoder.json", "encoder.safetensors")
    before, after = (encoder_digests(tmp_path / folder) for folder in ("tuned", "adopted"))
    assert [before[name] == after[name] for name in names] == [False, True]  # the weights are as they were


def test_of_residual_maps_only_what_has_no_axes_is_taken_over(tmp_path: Path) -> None:
    parts = settings(tiny_model(tmp_path / "model", n_layers=1), residual=True, residual_maps=True)
    encoder = CollaborativeEncoder(parts, CFShape.of(world()), seed=1, device="cpu", precision="float32")
    maps = encoder.residual_maps
    assert maps is not None
    with torch.no_grad():
        maps.chosen[:] = torch.diag(torch.tensor([-1.0, -2.0, -3.0, -1.0, -2.0, -3.0]))
        maps.chosen[:, 0, 1] = 5.0
        maps.own[0] = torch.tensor(np.roll(np.eye(SIZE), 1, axis=0))  # no part of it is the identity
    encoder.save(tmp_path / "tuned")
    adopt_encoder(tmp_path / "tuned", world().users, world().items, tmp_path / "adopted", device="cpu")
    adopted = CollaborativeEncoder.load(tmp_path / "adopted", device="cpu").residual_maps
    assert adopted is not None
    for kind in range(len(KINDS)):
        torch.testing.assert_close(adopted.chosen[kind].detach(), -2 * torch.eye(SIZE))
        torch.testing.assert_close(adopted.own[kind].detach(), torch.zeros(SIZE, SIZE))


def test_another_length_is_refused_with_what_to_do(tuned: CollaborativeEncoder, tmp_path: Path) -> None:
    vectors = np.ones((3, tuned.cf.size + 1), dtype=np.float32)
    with pytest.raises(ConfigError, match=f"embedding_size={tuned.cf.size}"):
        adopt_encoder(tmp_path / "tuned", vectors, vectors, tmp_path / "adopted")
    assert not (tmp_path / "adopted").exists()
    with pytest.raises(MissingFileError, match="artifacts/finetune/KEY"):
        adopt_encoder(tmp_path / "nowhere", vectors, vectors, tmp_path / "adopted")
