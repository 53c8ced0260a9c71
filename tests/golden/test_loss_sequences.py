"""The losses of short trainings, number for number. `python -m tests.golden.update` renews them."""

from __future__ import annotations

import json

import pytest
import torch
from tests.golden.cases import STEPS, loss_sequence, names
from tests.golden.update import PATH

from hnlmrec.models import MODELS
from hnlmrec.models.enhancements import ENHANCEMENTS
from hnlmrec.negative_sampling import SAMPLERS

GOLDEN = json.loads(PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", names())
def test_losses_are_those_that_were_kept(name: str) -> None:
    if name not in GOLDEN:
        pytest.fail(f"there is no golden row for {name}. Run: python -m tests.golden.update")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = loss_sequence(name)
    finally:
        torch.set_num_threads(before)
    kept = GOLDEN[name]
    for step, (losses, expected) in enumerate(zip(made["losses"], kept["losses"], strict=True), 1):
        # Sums in another order (another processor, more lanes) change the last of seven digits.
        assert losses == pytest.approx(expected, rel=1e-4, abs=1e-8), f"step {step}"
    assert made["best"] == pytest.approx(kept["best"], abs=0.02)


def test_every_entry_of_the_tables_has_a_row_and_every_row_an_entry() -> None:
    wanted = {f"{model}+uniform" for model in MODELS} | {f"lightgcn+{sampler}" for sampler in SAMPLERS}
    wanted |= {f"lightgcn+uniform+{enhancement}" for enhancement in ENHANCEMENTS}
    assert set(GOLDEN) == wanted, "run: python -m tests.golden.update"
    assert all(len(case["losses"]) == STEPS for case in GOLDEN.values())


def test_the_rows_tell_the_methods_apart() -> None:
    """A sampler that fell back to another, or a model that ignored its own terms, would repeat a row."""
    sequences = [json.dumps(case["losses"]) for case in GOLDEN.values()]
    assert len(set(sequences)) == len(sequences)
