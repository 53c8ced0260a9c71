"""Sparse kernels for the CPU, compiled by numba: sums of neighbours' rows, with everything around them fused in.

The normalised adjacency is A = D^-1/2 B D^-1/2 with a 0/1 matrix B. Rows are kept scaled, z = D^-1/2 e, so that a
layer is z' = D^-1 B z: a plain sum over neighbours without a weight for each edge. A e = D^1/2 z' then holds.
The time goes into reading neighbours' rows from the caches, so eight are added up before the accumulator is
touched, and rows known to be zero are left out. A kernel does the rows `first` to `last - 1` without the GIL, so
that threads share the rows; each row is summed in a fixed order, whatever their number.
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
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
_inlined = numba.njit(forceinline=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})

# Kernels are written for a vector length `size`, and inlined once for each of the common lengths: loops over a
# constant are unrolled, which makes a layer a third faster.


@_inlined
def _sum_rows(  # noqa: PLR0917 - plain positional arguments are what numba inlines
    columns: Ints, start: int, end: int, z: Floats, total: Floats, size: int
) -> None:
    """Set total [d] to the sum of z[columns[start:end]]."""
    for k in range(size):
        total[k] = 0
    while start + 8 <= end:
        a, b = np.int64(columns[start]), np.int64(columns[start + 1])
        c, d = np.int64(columns[start + 2]), np.int64(columns[start + 3])
        e, f = np.int64(columns[start + 4]), np.int64(columns[start + 5])
        g, h = np.int64(columns[start + 6]), np.int64(columns[start + 7])
        for k in range(size):
            total[k] += ((z[a, k] + z[b, k]) + (z[c, k] + z[d, k])) + ((z[e, k] + z[f, k]) + (z[g, k] + z[h, k]))
        start += 8
    while start < end:
        a = np.int64(columns[start])
        for k in range(size):
            total[k] += z[a, k]
        start += 1


@_inlined
def _sum_neighbours(  # noqa: PLR0917
    indptr: Ints, columns: Ints, row: int, z: Floats, nonzero: Flags, kept: Ints, total: Floats, size: int
) -> None:
    """Set total [d] to the sum of z over a row's neighbours; `nonzero` [N] is empty where all of z counts."""
    start, end = np.int64(indptr[row]), np.int64(indptr[row + 1])
    if nonzero.size:
        n_kept = 0
        for place in range(start, end):  # without a branch, since none could be predicted
            kept[n_kept] = columns[place]
            n_kept += nonzero[columns[place]]
        _sum_rows(kept, 0, n_kept, z, total, size)
    else:
        _sum_rows(columns, start, end, z, total, size)  # type: ignore[arg-type]


@_compiled
def scale_rows(  # noqa: PLR0917
    users: Floats, items: Floats, scale: Floats, z: Floats, nonzero: Flags, first: int, last: int
) -> None:
    """Set z [N, d] = scale * (users, items), and `nonzero` [N], unless empty, to whether a row has a value."""
    n_users = len(users)
    for row in range(first, last):
        source = users[row] if row < n_users else items[row - n_users]
        for k in range(z.shape[1]):
            z[row, k] = scale[row] * source[k]
        if nonzero.size:
            nonzero[row] = False
            for k in range(z.shape[1]):
                if source[k] != 0:
                    nonzero[row] = True
                    break


@_inlined
def _add_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    inverse_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    is_first: bool,
    following: Floats,
    total: Floats,
    first: int,
    last: int,
    size: int,
) -> None:
    kept = np.empty(longest if nonzero.size else 0, np.int32)
    neighbours = np.empty(size, z.dtype)
    for row in range(first, last):
        _sum_neighbours(indptr, columns, row, z, nonzero, kept, neighbours, size)
        scale = inverse_degrees[row]
        if is_first:
            for k in range(size):
                following[row, k] = total[row, k] = neighbours[k] * scale
        else:
            for k in range(size):
                value = neighbours[k] * scale
                following[row, k] = value
                total[row, k] += value


@_compiled
def add_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    inverse_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    is_first: bool,
    following: Floats,
    total: Floats,
    first: int,
    last: int,
) -> None:
    """Set following [N, d] to D^-1 B z, and add it to total [N, d] (`is_first`: put it there).

    `longest` is the largest degree.
    """
    size = z.shape[1]
    if size == 64:
        _add_layer(
            indptr, columns, inverse_degrees, z, nonzero, longest, is_first, following, total, first, last, 64
        )
    elif size == 32:
        _add_layer(
            indptr, columns, inverse_degrees, z, nonzero, longest, is_first, following, total, first, last, 32
        )
    elif size == 128:
        _add_layer(
            indptr, columns, inverse_degrees, z, nonzero, longest, is_first, following, total, first, last, 128
        )
    else:
        _add_layer(
            indptr, columns, inverse_degrees, z, nonzero, longest, is_first, following, total, first, last, size
        )


@_inlined
def _last_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    rows: Ints,
    inverse_degrees: Floats,
    root_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    is_only: bool,
    total: Floats,
    users: Floats,
    items: Floats,
    own_weight: float,
    layer_weight: float,
    out: Floats,
    first: int,
    last: int,
    size: int,
) -> None:
    n_users = len(users)
    kept = np.empty(longest if nonzero.size else 0, np.int32)
    neighbours = np.empty(size, z.dtype)
    for place in range(first, last):
        row = rows[place]
        _sum_neighbours(indptr, columns, row, z, nonzero, kept, neighbours, size)
        weight = z.dtype.type(layer_weight) * root_degrees[row]
        scale = weight * inverse_degrees[row]
        for k in range(size):
            out[place, k] = scale * neighbours[k]
        if not is_only:
            for k in range(size):
                out[place, k] += weight * total[row, k]
        if own_weight != 0:
            own = users[row] if row < n_users else items[row - n_users]
            for k in range(size):
                out[place, k] += z.dtype.type(own_weight) * own[k]


@_compiled
def last_layer(  # noqa: PLR0917
    indptr: Ints,
    columns: Ints,
    rows: Ints,
    inverse_degrees: Floats,
    root_degrees: Floats,
    z: Floats,
    nonzero: Flags,
    longest: int,
    is_only: bool,
    total: Floats,
    users: Floats,
    items: Floats,
    own_weight: float,
    layer_weight: float,
    out: Floats,
    first: int,
    last: int,
) -> None:
    """Set out [n, d] to own_weight * (users, items) + layer_weight * D^1/2 (total + D^-1 B z) at `rows` [n]."""
    size = z.shape[1]
    if size == 64:
        _last_layer(
            indptr,
            columns,
            rows,
            inverse_degrees,
            root_degrees,
            z,
            nonzero,
            longest,
            is_only,
            total,
            users,
            items,
            own_weight,
            layer_weight,
            out,
            first,
            last,
            64,
        )
    elif size == 32:
        _last_layer(
            indptr,
            columns,
            rows,
            inverse_degrees,
            root_degrees,
            z,
            nonzero,
            longest,
            is_only,
            total,
            users,
            items,
            own_weight,
            layer_weight,
            out,
            first,
            last,
            32,
        )
    elif size == 128:
        _last_layer(
            indptr,
            columns,
            rows,
            inverse_degrees,
            root_degrees,
            z,
            nonzero,
            longest,
            is_only,
            total,
            users,
            items,
            own_weight,
            layer_weight,
            out,
            first,
            last,
            128,
        )
    else:
        _last_layer(
            indptr,
            columns,
            rows,
            inverse_degrees,
            root_degrees,
            z,
            nonzero,
            longest,
            is_only,
            total,
            users,
            items,
            own_weight,
            layer_weight,
            out,
            first,
            last,
            size,
        )


@_compiled
def add_rows(out: Floats, rows: npt.NDArray[np.int64], values: Floats) -> None:
    """Add values [n, d] to out[rows]; a row may come more than once."""
    for place in range(len(rows)):
        row = rows[place]
        for k in range(values.shape[1]):
            out[row, k] += values[place, k]
