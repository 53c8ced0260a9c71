"""Sparse kernels for the CPU, compiled by numba: sums of neighbours' rows, with everything around them fused in.

The normalised adjacency is A = D^-1/2 B D^-1/2 with a 0/1 matrix B. Rows are kept scaled, z = D^-1/2 e, so that a
layer is z' = D^-1 B z: a plain sum over neighbours without a weight for each edge. A e = D^1/2 z' then holds.
The time goes into reading neighbours' rows from the caches, so eight are added up before the accumulator is
touched, and rows known to be zero are left out. Each row is summed by one thread in a fixed order: the result does
not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

# Not full fastmath: NaN and infinity must survive, so that a diverged run is seen.
_serial = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
_parallel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"}, parallel=True)


@_serial
def _sum_rows(columns: Ints, start: int, end: int, z: Floats, total: Floats) -> None:
    """Set total [d] to the sum of z[columns[start:end]]."""
    size = z.shape[1]
    total[:] = 0
    while start + 8 <= end:
        a, b, c, d = columns[start], columns[start + 1], columns[start + 2], columns[start + 3]
        e, f, g, h = columns[start + 4], columns[start + 5], columns[start + 6], columns[start + 7]
        for k in range(size):
            total[k] += ((z[a, k] + z[b, k]) + (z[c, k] + z[d, k])) + ((z[e, k] + z[f, k]) + (z[g, k] + z[h, k]))
        start += 8
    while start + 2 <= end:
        a, b = columns[start], columns[start + 1]
        for k in range(size):
            total[k] += z[a, k] + z[b, k]
        start += 2
    if start < end:
        a = columns[start]
        for k in range(size):
            total[k] += z[a, k]


@_serial
def _sum_neighbours(  # noqa: PLR0917 - numba wants plain positional arguments
    indptr: Ints, columns: Ints, row: int, z: Floats, nonzero: Flags, kept: Ints, total: Floats
) -> None:
    """Set total [d] to the sum of z over a row's neighbours; `nonzero` [N] is empty where all of z counts."""
    start, end = indptr[row], indptr[row + 1]
    if nonzero.size == 0:
        _sum_rows(columns, start, end, z, total)
        return
    n_kept = 0
    for place in range(start, end):  # without a branch, since none could be predicted
        kept[n_kept] = columns[place]
        n_kept += nonzero[columns[place]]
    _sum_rows(kept, 0, n_kept, z, total)


@_parallel
def scale_rows(users: Floats, items: Floats, scale: Floats, z: Floats, nonzero: Flags) -> None:
    """Set z [N, d] = scale * (users, items), and `nonzero` [N], unless empty, to whether a row has a value."""
    n_users = len(users)
    for row in numba.prange(len(z)):
        source = users[row] if row < n_users else items[row - n_users]
        found = False
        for k in range(z.shape[1]):
            z[row, k] = scale[row] * source[k]
            found |= source[k] != 0
        if nonzero.size:
            nonzero[row] = found


@_parallel
def add_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    chunks: Ints,
    inverse_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    first: bool,
    following: Floats,
    total: Floats,
) -> None:
    """Set following [N, d] to D^-1 B z, and add it to total [N, d] (`first`: put it there).

    `chunks` are the row numbers at which the threads' shares end; `longest` is the largest degree.
    """
    for chunk in numba.prange(len(chunks) - 1):
        kept = np.empty(longest if nonzero.size else 0, np.int32)
        neighbours = np.empty(z.shape[1], z.dtype)
        for row in range(chunks[chunk], chunks[chunk + 1]):
            _sum_neighbours(indptr, columns, row, z, nonzero, kept, neighbours)
            scale = inverse_degrees[row]
            for k in range(z.shape[1]):
                value = neighbours[k] * scale
                following[row, k] = value
                total[row, k] = value if first else total[row, k] + value


@_parallel
def last_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    rows: Ints,
    chunks: Ints,
    inverse_degrees: Floats,
    root_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    first: bool,
    total: Floats,
    users: Floats,
    items: Floats,
    own_weight: float,
    layer_weight: float,
    out: Floats,
) -> None:
    """Set out [n, d] to own_weight * (users, items) + layer_weight * D^1/2 (total + D^-1 B z) at `rows` [n]."""
    n_users = len(users)
    for chunk in numba.prange(len(chunks) - 1):
        kept = np.empty(longest if nonzero.size else 0, np.int32)
        neighbours = np.empty(z.shape[1], z.dtype)
        for place in range(chunks[chunk], chunks[chunk + 1]):
            row = rows[place]
            _sum_neighbours(indptr, columns, row, z, nonzero, kept, neighbours)
            scale = inverse_degrees[row]
            weight = z.dtype.type(layer_weight) * root_degrees[row]
            for k in range(z.shape[1]):
                value = neighbours[k] * scale
                out[place, k] = weight * (value if first else total[row, k] + value)
            if own_weight != 0:
                own = users[row] if row < n_users else items[row - n_users]
                for k in range(z.shape[1]):
                    out[place, k] += z.dtype.type(own_weight) * own[k]


@_serial
def add_rows(out: Floats, rows: npt.NDArray[np.int64], values: Floats) -> None:
    """Add values [n, d] to out[rows]; a row may come more than once."""
    for place in range(len(rows)):
        row = rows[place]
        for k in range(values.shape[1]):
            out[row, k] += values[place, k]
