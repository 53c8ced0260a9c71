"""Sparse kernels for the CPU, compiled by numba: sums of neighbours' rows, with everything around them fused in.

The normalised adjacency is A = D^-1/2 B D^-1/2 with a 0/1 matrix B. Vectors h are kept scaled, y = D^-1/2 h, so
that a layer is D^-1/2 A h = D^-1 B y: a plain sum over neighbours, without a weight for each edge.

The time goes into reading neighbours' rows. Tables of vectors are therefore cut into blocks of `WIDTH` columns,
[n_blocks, N, WIDTH], each worked on by itself: a block of a few thousand nodes stays in the second-level cache,
and a row of it is summed in registers. Rows some places ahead are asked for early, which hides the way from the
third level or from memory. A kernel does the rows `first` to `last - 1` of one block without the GIL, so that
threads share rows and blocks; each row is summed in a fixed order, whatever their number.
"""

# ruff: noqa: ARG001, PLR0917 - arguments come by position, and some only to keep the signatures alike

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int32]

WIDTH = 32
"""Columns of a block. Of 8, 16, 32 and 64, 32 is the fastest or nearly so on small and large graphs alike."""
AHEAD = 16
"""How many neighbours ahead rows are asked for; arrays of neighbours are this much (and `_STEP`) longer."""
_STEP = 4  # neighbours added up before the running sum is touched, so that additions need not wait for each other
PADDING = AHEAD + _STEP

# Not full fastmath: NaN and infinity must survive, so that a diverged run is seen.
cgutils: Any = untyped_cgutils
_FLAGS = ("contract", "nsz")
compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=set(_FLAGS))


def _emit_set_row(
    typing: Any,
    out: Any,
    row: Any,
    initial: Any,
    place: Any,
    scale: Any,
    table: Any,
    columns: Any,
    start: Any,
    end: Any,
) -> Any:
    """Set out[row] to initial[place] + scale * the sum of table[columns[start:end]]; the tables are [n, WIDTH].

    Written in LLVM's own terms: numba's loops over an array keep the running sum in memory, and check each index
    for being negative, which makes them two to three times slower.
    """
    index, number = types.int64, table.dtype
    signature = types.void(out, index, initial, index, number, table, columns, index, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = {
            name: context.make_array(signature.args[n])(context, builder, arguments[n]).data
            for name, n in (("out", 0), ("initial", 2), ("table", 5), ("columns", 6))
        }
        _, row, _, place, scale, _, _, start, end = arguments
        rows = _Rows(builder, ir.VectorType(scale.type, WIDTH), arrays["table"], arrays["columns"])
        total = cgutils.alloca_once_value(builder, ir.Constant(rows.vector, None))
        steps = builder.sdiv(builder.sub(end, start), start.type(_STEP))
        middle = builder.add(start, builder.mul(steps, start.type(_STEP)))
        with cgutils.for_range_slice(builder, start, middle, start.type(_STEP)) as (edge, _):
            rows.add_to(total, edge, _STEP)
        with cgutils.for_range(builder, end, start=middle) as loop:
            rows.add_to(total, loop.index, 1)
        scaled = builder.fmul(rows.repeat(scale), builder.load(total), flags=_FLAGS)
        value = builder.fadd(builder.load(rows.of(arrays["initial"], place), align=1), scaled, flags=_FLAGS)
        builder.store(value, rows.of(arrays["out"], row), align=1)
        return context.get_dummy_value()

    return signature, generate


_set_row: Any = intrinsic(_emit_set_row)


class _Rows:
    """Emits the code that reads and writes rows of tables as vectors."""

    def __init__(self, builder: Any, vector: Any, table: Any, columns: Any) -> None:
        self.builder, self.vector, self.table, self.columns = builder, vector, table, columns

    def add_to(self, total: Any, edge: Any, n: int) -> None:
        """Add the rows of the neighbours at `edge` to `edge + n - 1`, paired as a tree."""
        builder, rows = self.builder, []
        for step in range(n):
            self._ask_for(self._neighbour(edge, AHEAD + step))
            rows.append(builder.load(self._neighbour(edge, step), align=1))
        while len(rows) > 1:
            rows = [builder.fadd(rows[k], rows[k + 1], flags=_FLAGS) for k in range(0, len(rows), 2)]
        builder.store(builder.fadd(builder.load(total), rows[0], flags=_FLAGS), total)

    def of(self, table: Any, row: Any) -> Any:
        """Return the address of a row."""
        return self.builder.gep(self.builder.bitcast(table, self.vector.as_pointer()), [row])

    def repeat(self, number: Any) -> Any:
        """Return a vector of one number."""
        vector = ir.Constant(self.vector, ir.Undefined)
        for k in range(WIDTH):
            vector = self.builder.insert_element(vector, number, ir.IntType(32)(k))
        return vector

    def _neighbour(self, edge: Any, offset: int) -> Any:
        builder = self.builder
        column = builder.load(builder.gep(self.columns, [builder.add(edge, edge.type(offset))]))
        return self.of(self.table, builder.sext(column, edge.type))

    def _ask_for(self, row: Any) -> None:
        """Prefetch a row, one cache line after the other; an address that does not exist does no harm."""
        builder, byte, flag = self.builder, ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0"
        )
        first = builder.bitcast(row, byte)
        number_bytes = 8 if isinstance(self.vector.element, ir.DoubleType) else 4
        for offset in range(0, WIDTH * number_bytes, 64):
            line = builder.gep(first, [ir.IntType(64)(offset)])
            builder.call(prefetch, [line, flag(0), flag(3), flag(1)])  # for reading, into all levels, of data


def aligned_blocks(n_rows: int, size: int, dtype: np.dtype[Any]) -> Floats:
    """Return an array [n_blocks, n_rows, WIDTH] for vectors of `size` numbers, its rows not across cache lines."""
    shape = -(-size // WIDTH), n_rows, WIDTH
    n_bytes = shape[0] * shape[1] * shape[2] * dtype.itemsize
    memory = np.empty(n_bytes + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    blocks: Floats = memory[start : start + n_bytes].view(dtype).reshape(shape)
    return blocks


@compiled
def scale_rows(
    users: Floats, items: Floats, scale: Floats, out: Floats, block: int, first: int, last: int
) -> None:
    """Set a block of out to scale [N] * (users, items) [N, d], with zeros beyond the last column."""
    n_users, begin = len(users), block * WIDTH
    width = min(WIDTH, users.shape[1] - begin)
    for row in range(first, last):
        source = users[row, begin:] if row < n_users else items[row - n_users, begin:]
        target = out[block, row]
        if width == WIDTH:  # a loop of constant length becomes vectors
            for k in range(WIDTH):
                target[k] = scale[row] * source[k]
        else:
            target[:] = 0
            for k in range(width):
                target[k] = scale[row] * source[k]


@compiled
def keep_neighbours(
    starts: Ints,
    ends: Ints,
    columns: Ints,
    places: Ints,
    n_places: int,
    kept: Ints,
    kept_ends: Ints,
    block: int,
    first: int,
    last: int,
) -> None:
    """Write places [N] of each row's neighbours to kept, from the row's start on, where they are below n_places.

    kept_ends [N] is set to where each row's end; the `block` does not matter.
    """
    for row in range(first, last):
        end = np.uint64(starts[row])
        for edge in range(np.uint64(starts[row]), np.uint64(ends[row])):
            place = places[np.uint32(columns[edge])]
            kept[end] = place
            end += np.uint64(place < n_places)  # without a branch, since none could be predicted
        kept_ends[row] = end


@compiled
def add_layer(
    starts: Ints,
    ends: Ints,
    columns: Ints,
    inverse_degrees: Floats,
    y: Floats,
    initial: Floats,
    places: Ints,
    out: Floats,
    block: int,
    first: int,
    last: int,
) -> None:
    """Set a block of out to y_0 + D^-1 B y.

    A row's neighbours are columns[starts[row] : ends[row]], rows of y [n_blocks, n, WIDTH]; its y_0 is
    initial[row], or initial[places[row]] where `places` is not empty.
    """
    table, given, target = y[block], initial[block], out[block]
    for row in range(first, last):
        place = np.int64(places[row]) if places.size else row
        start, end = np.int64(starts[row]), np.int64(ends[row])
        _set_row(target, row, given, place, inverse_degrees[row], table, columns, start, end)


@compiled
def last_layer(
    starts: Ints,
    ends: Ints,
    columns: Ints,
    rows: Ints,
    inverse_roots: Floats,
    y: Floats,
    users: Floats,
    items: Floats,
    own_weight: float,
    layer_weight: float,
    out: Floats,
    block: int,
    first: int,
    last: int,
) -> None:
    """Set a block's columns of out [n, d] to own_weight * (users, items) + layer_weight * D^-1/2 B y.

    That is at `rows` [n] alone. A row's neighbours are columns[starts[row] : ends[row]], rows of y.
    """
    n_users, begin, table = len(users), block * WIDTH, y[block]
    width = min(WIDTH, out.shape[1] - begin)
    nothing, total = np.zeros((1, WIDTH), y.dtype), np.zeros((1, WIDTH), y.dtype)
    own_scale = y.dtype.type(own_weight)
    for place in range(first, last):
        row = rows[place]
        scale = y.dtype.type(layer_weight) * inverse_roots[row]
        start, end = np.int64(starts[row]), np.int64(ends[row])
        _set_row(total, 0, nothing, 0, scale, table, columns, start, end)
        target = out[place, begin:]
        if own_weight != 0:
            own = users[row, begin:] if row < n_users else items[row - n_users, begin:]
            for k in range(width):
                total[0, k] += own_scale * own[k]
        if width == WIDTH:  # a loop of constant length becomes vectors
            for k in range(WIDTH):
                target[k] = total[0, k]
        else:
            for k in range(width):
                target[k] = total[0, k]


@compiled
def next_layer(
    starts: Ints,
    ends: Ints,
    columns: Ints,
    inverse_degrees: Floats,
    roots: Floats,
    y: Floats,
    out: Floats,
    plain: Floats,
    block: int,
    first: int,
    last: int,
) -> None:
    """Set a block of out to D^-1 B y, and its columns of plain [N, d] to D^1/2 times that."""
    table, target, begin = y[block], out[block], block * WIDTH
    width = min(WIDTH, plain.shape[1] - begin)
    nothing = np.zeros((1, WIDTH), y.dtype)
    for row in range(first, last):
        start, end = np.int64(starts[row]), np.int64(ends[row])
        _set_row(target, row, nothing, 0, inverse_degrees[row], table, columns, start, end)
        copy = plain[row, begin:]
        if width == WIDTH:  # a loop of constant length becomes vectors
            for k in range(WIDTH):
                copy[k] = roots[row] * target[row, k]
        else:
            for k in range(width):
                copy[k] = roots[row] * target[row, k]
