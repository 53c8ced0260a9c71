"""Named, independent random streams from one seed: there is no global randomness in this package.

A stream depends on the seed and on its own name only, so adding a stream, or drawing more from another one,
changes no number of this one. The state of every stream can be saved and restored, for exact resume.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


class RandomStreams:
    """Random generators by name.

    Args:
        seed: any non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[str, np.random.Generator] = {}

    def generator(self, name: str) -> np.random.Generator:
        """Return the stream of that name; the same object at each call, so that it goes on where it was."""
        if name not in self._generators:
            self._generators[name] = np.random.Generator(np.random.PCG64(_sequence(self.seed, name)))
        return self._generators[name]

    def integer(self, name: str) -> int:
        """Return a fixed 63-bit integer for that name, to seed a generator of another library (torch)."""
        return int(_sequence(self.seed, name).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all streams in use, as values that JSON can hold."""
        return {name: generator.bit_generator.state for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every stream back to where `state_dict` found it."""
        for name, value in state.items():
            self.generator(name).bit_generator.state = value


def _sequence(seed: int, name: str) -> np.random.SeedSequence:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.SeedSequence([seed, *np.frombuffer(digest, dtype=np.uint32).tolist()])
