from __future__ import annotations

import json

import numpy as np
import pytest

from hnlmrec.rng import RandomStreams


def test_a_stream_does_not_depend_on_other_streams() -> None:
    alone = RandomStreams(3).generator("split").random(5)
    streams = RandomStreams(3)
    streams.generator("sampler").random(1000)
    np.testing.assert_array_equal(streams.generator("split").random(5), alone)


def test_streams_differ_by_name_and_seed() -> None:
    draws = {
        tuple(RandomStreams(seed).generator(name).integers(0, 2**62, 3)) for seed in (0, 1) for name in ("a", "b")
    }
    assert len(draws) == 4


def test_a_stream_goes_on_where_it_was() -> None:
    streams = RandomStreams(0)
    parts = [streams.generator("a").random(2), streams.generator("a").random(3)]
    np.testing.assert_array_equal(np.concatenate(parts), RandomStreams(0).generator("a").random(5))


def test_the_state_survives_json() -> None:
    streams = RandomStreams(11)
    streams.generator("a").random(7)
    streams.generator("b").normal(size=3)
    state = json.loads(json.dumps(streams.state_dict()))
    expected = [streams.generator(name).random(4) for name in ("a", "b", "c")]
    resumed = RandomStreams(11)
    resumed.load_state_dict(state)
    for name, values in zip(("a", "b", "c"), expected, strict=True):
        np.testing.assert_array_equal(resumed.generator(name).random(4), values)


def test_streams_are_uncorrelated() -> None:
    streams = RandomStreams(0)
    a, b = streams.generator("a").normal(size=20_000), streams.generator("b").normal(size=20_000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_integers_for_other_libraries() -> None:
    streams = RandomStreams(5)
    assert streams.integer("torch") == RandomStreams(5).integer("torch")
    assert 0 <= streams.integer("torch") < 2**63
    assert streams.integer("torch") != streams.integer("dropout")
    assert streams.state_dict() == {}


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        RandomStreams(-1).generator("a")
