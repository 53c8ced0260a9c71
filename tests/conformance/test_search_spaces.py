"""Every method has a search space, whose fields exist, and whose values its configuration takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hnlmrec.config import Config, build
from hnlmrec.models import MODELS
from hnlmrec.models.enhancements import ENHANCEMENTS
from hnlmrec.models.enhancements.spaces import ENHANCEMENT_SPACES
from hnlmrec.models.recommenders import RECOMMENDERS
from hnlmrec.models.spaces import MODEL_SPACES, RECOMMENDER_SPACES
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.negative_sampling.spaces import SPACES
from hnlmrec.search_space import Choice, Space, Span
from hnlmrec.training import TrainingConfig
from hnlmrec.training.spaces import RECOGNISED_SPACE, TRAINING_SPACE

FAMILIES: list[tuple[Mapping[str, Any], Mapping[str, Space]]] = [
    (SAMPLERS, SPACES),
    (MODELS, MODEL_SPACES),
    (RECOMMENDERS, RECOMMENDER_SPACES),
    (ENHANCEMENTS, ENHANCEMENT_SPACES),
]
ALL = [(f"{name}", table[name].Config, space) for table, spaces in FAMILIES for name, space in spaces.items()]
ALL += [("training", TrainingConfig, TRAINING_SPACE), ("recognised", TrainingConfig, RECOGNISED_SPACE)]


@pytest.mark.parametrize(("table", "spaces"), FAMILIES)
def test_every_method_has_a_space(table: Mapping[str, Any], spaces: Mapping[str, Space]) -> None:
    assert spaces.keys() == table.keys()


def ends(entry: Span | Choice) -> Iterator[Any]:
    if isinstance(entry, Choice):
        yield from entry.values
    else:
        assert entry.low < entry.high
        assert entry.low > 0 or not entry.log
        yield from ((int(entry.low), int(entry.high)) if entry.integer else (entry.low, entry.high))


@pytest.mark.parametrize(("name", "kind", "space"), ALL, ids=[name for name, *_ in ALL])
def test_its_fields_exist_and_take_every_value(name: str, kind: type[Config], space: Space) -> None:
    needed = {"path": "negatives.csv"} if name == "file" else {}
    for field, entry in space.items():
        assert field in kind.model_fields
        for value in ends(entry):
            assert entry.holds(value)
            assert getattr(build(kind, {**needed, field: value}), field) == value


def test_what_lies_outside_is_not_held() -> None:
    assert not Span(1, 4, integer=True).holds(2.5)
    assert not Span(1, 4).holds(5)
    assert not Span(0, 1).holds(value=True)
    assert not Choice((1, 2)).holds(3)


def test_a_space_is_widened_to_hold_a_value() -> None:
    assert Span(1, 4, integer=True).widened(9) == Span(1, 9, integer=True)
    assert Span(0.1, 1, log=True).widened(0.01) == Span(0.01, 1, log=True)
    assert Span(0.1, 1).widened(0.5) == Span(0.1, 1)
    assert Choice((1, 2)).widened(3) == Choice((1, 2, 3))
    assert Choice((1, 2)).widened(2) == Choice((1, 2))


@pytest.mark.parametrize("value", ["auto", None, True, 2.5])
def test_a_range_is_not_widened_by_what_is_none_of_its_numbers(value: Any) -> None:
    assert Span(1, 2, integer=True).widened(value) == Span(1, 2, integer=True)


def test_a_range_of_magnitudes_is_not_widened_to_zero() -> None:
    assert Span(0.1, 1, log=True).widened(0.0) == Span(0.1, 1, log=True)
