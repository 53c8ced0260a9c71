"""Kernels for the CPU that work on each row of a table by itself."""

# ruff: noqa: ARG001, PLR0917 - arguments come by position, and some only to keep the signatures alike

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlmrec.models.kernels import Floats, compiled

Flags = npt.NDArray[np.bool_]


@compiled
def find_nonzero(
    users: Floats,
    items: Floats,
    nonzero: Flags,
    block: int,
    first: int,
    last: int,
) -> None:
    """Set nonzero [N] to whether a row of (users, items) has a value; the `block` does not matter."""
    n_users = len(users)
    for row in range(first, last):
        source = users[row] if row < n_users else items[row - n_users]
        nonzero[row] = False
        for k in range(len(source)):
            if source[k] != 0:
                nonzero[row] = True
                break


@compiled
def sum_layers(
    users: Floats,
    items: Floats,
    layers: Floats,
    own_weight: float,
    layer_weight: float,
    out: Floats,
    block: int,
    first: int,
    last: int,
) -> None:
    """Set out [N, d] to own_weight * (users, items) + layer_weight * the sum of layers [L, N, d].

    The `block` does not matter.
    """
    n_users, own_scale, scale = len(users), out.dtype.type(own_weight), out.dtype.type(layer_weight)
    for row in range(first, last):
        own = users[row] if row < n_users else items[row - n_users]
        target = out[row]
        for k in range(len(target)):
            target[k] = own_scale * own[k]
        for layer in range(len(layers)):
            values = layers[layer, row]
            for k in range(len(target)):
                target[k] += scale * values[k]


@compiled
def add_rows(out: Floats, rows: npt.NDArray[np.int64], values: Floats, weight: float) -> None:
    """Add weight * values [n, d] to out[rows]; a row may come more than once."""
    scale = out.dtype.type(weight)
    for place in range(len(rows)):
        row = rows[place]
        for k in range(values.shape[1]):
            out[row, k] += scale * values[place, k]
