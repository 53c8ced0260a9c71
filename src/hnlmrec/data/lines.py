"""The lines of a large file in batches, unpacked on the way: memory holds one batch, whatever the file's size.

A gzip file is known by its first bytes, not by its name. What can be unpacked of a damaged one is read, and the
damage is counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hnlmrec.data.corruption import CorruptLines
from hnlmrec.data.tables import reading
from hnlmrec.errors import DataError

LineNumbers = npt.NDArray[np.uint32]

_BATCH = 16 * 2**20
_LONGEST_LINE = 64 * 2**20
_PIECE = 2**20
_BLOCK = 2**16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Batch:
    """Some lines of a file that follow one another.

    Attributes:
        first: number of the first of them; the first line of a file is 1.
        data: the lines with a newline between each two, none at the end.
    """

    first: int
    data: bytes

    @property
    def lines(self) -> list[bytes]:
        """The lines, without newlines."""
        return self.data.split(b"\n")

    @property
    def n_lines(self) -> int:
        """How many they are."""
        return self.data.count(b"\n") + 1


def batches(path: Path, corrupt: CorruptLines, *, size: int = _BATCH) -> Iterator[Batch]:
    """Read a plain or gzip file of lines.

    Args:
        path: the file.
        corrupt: where a gzip file is damaged is written here.
        size: bytes of a batch, about. A line longer than 64 MiB is cut, so that it cannot fill the memory.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it may not be read.
        DataError: it is packed in another way.
    """
    first, rest = 1, b""
    with reading(path), path.open("rb") as file:
        unpacked = _Unpacked(file, path)
        for data in _joined(iter(unpacked), size):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                batch = Batch(first, whole.removeprefix(_BOM) if first == 1 else whole)
                yield batch
                first += batch.n_lines
            elif len(rest) > _LONGEST_LINE:
                rest = rest[:_BLOCK]
    if rest:
        yield Batch(first, rest.removeprefix(_BOM) if first == 1 else rest)
    if unpacked.damaged:
        corrupt.damaged_at = first


def at_lines(path: Path, numbers: LineNumbers, *, size: int = _BATCH) -> Iterator[tuple[LineNumbers, list[bytes]]]:
    """Read the lines with these numbers (ascending); yields (numbers, lines) of each batch that has any."""
    for batch in batches(path, CorruptLines(), size=size):
        start, end = np.searchsorted(numbers, [batch.first, batch.first + batch.n_lines])
        if end > start:
            chosen = numbers[start:end]
            lines = batch.lines
            yield chosen, [lines[place] for place in (chosen - batch.first).tolist()]
        if end == len(numbers):
            return


def _joined(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    found, total = [], 0
    for piece in pieces:
        found.append(piece)
        total += len(piece)
        if total >= size:
            yield b"".join(found)
            found, total = [], 0
    yield b"".join(found)


class _Unpacked:
    """The content of a plain or gzip file, a piece at a time; `damaged` is known when all is read."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.damaged = file, False
        start = file.read(len(_ZSTD))
        file.seek(0)
        if start == _ZSTD:
            raise DataError(f"{path} is packed with zstd. Unpack it (zstd -d), or pack it with gzip.")
        self.is_packed = start.startswith(_GZIP)

    def __iter__(self) -> Iterator[bytes]:
        if self.is_packed:
            yield from self._members()
        else:
            while piece := self.file.read(_PIECE):
                yield piece

    def _members(self) -> Iterator[bytes]:
        decoder, is_new = zlib.decompressobj(wbits=31), True
        while block := self.file.read(_BLOCK):
            while block := block.lstrip(b"\0") if is_new else block:  # members may be padded with zeros
                before, is_new = decoder.copy(), False
                try:
                    yield decoder.decompress(block)
                except zlib.error:
                    self.damaged = True
                    yield from _salvaged(before, block)
                    return
                block = decoder.unused_data
                if decoder.eof:
                    decoder, is_new = zlib.decompressobj(wbits=31), True
        self.damaged = not is_new


def _salvaged(decoder: zlib._Decompress, block: bytes) -> Iterator[bytes]:
    """Unpack what lies before the damage within a block: in small steps, then byte by byte."""
    for step in (64, 1):
        for start in range(0, len(block), step):
            before = decoder.copy()
            try:
                yield decoder.decompress(block[start : start + step])
            except zlib.error:
                decoder, block = before, block[start : start + step]
                break
