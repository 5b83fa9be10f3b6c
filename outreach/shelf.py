"""A long list in little memory: rows of plain values, packed and compressed in blocks.

A list of 100,000 contacts or problems takes a few megabytes here instead of a hundred. Rows are tuples of
texts, numbers, None and tuples of these; what is put in comes out equal. One row can be replaced later.
Nothing is written to disk. Looking at single rows far apart is slow (a block is unpacked each time).
"""

from __future__ import annotations

import bisect
import marshal
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

_BLOCK, _BLOCK_BYTES = 256, 200_000  # rows at most, bytes about
T = TypeVar("T")


class Shelf(Sequence[T], Generic[T]):
    """A list of T, kept as packed rows; `pack` and `unpack` turn one into the other."""

    def __init__(self, pack: Callable[[T], tuple[Any, ...]], unpack: Callable[[tuple[Any, ...]], T]) -> None:
        self._pack, self._unpack = pack, unpack
        self._blocks: list[bytes] = []
        self._starts: list[int] = []  # of each block, the index of its first row
        self._open: list[bytes] = []
        self._filled = self._bytes = 0  # rows in the blocks, bytes in the open one
        self._changed: dict[int, bytes] = {}
        self._near: tuple[int, list[bytes]] = (-1, [])  # the block looked at last

    def append(self, value: T) -> None:
        """Put one at the end."""
        row = marshal.dumps(self._pack(value))
        self._open.append(row)
        self._bytes += len(row)
        if len(self._open) == _BLOCK or self._bytes > _BLOCK_BYTES:
            self._blocks.append(zlib.compress(marshal.dumps(self._open), 1))
            self._starts.append(self._filled)
            self._filled += len(self._open)
            self._open, self._bytes = [], 0

    def replace(self, index: int, value: T) -> None:
        """Put another in the place of one."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        self._changed[index] = marshal.dumps(self._pack(value))

    def __len__(self) -> int:
        return self._filled + len(self._open)

    def __iter__(self) -> Iterator[T]:
        return (self._unpack(row) for row in self.rows())

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows as they are kept, cheaper than what they stand for."""
        for block, start in enumerate((*self._starts, self._filled)):
            for n, row in enumerate(self._block(block)):
                yield marshal.loads(self._changed.get(start + n, row))  # noqa: S302 (our own bytes)

    def _block(self, number: int) -> list[bytes]:
        if number == len(self._blocks):
            return self._open
        rows: list[bytes] = marshal.loads(zlib.decompress(self._blocks[number]))  # noqa: S302
        return rows

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return list(self)[index]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self._changed.get(index)
        if row is None:
            if index >= self._filled:
                row = self._open[index - self._filled]
            else:
                block = bisect.bisect_right(self._starts, index) - 1
                if self._near[0] != block:
                    self._near = (block, self._block(block))
                row = self._near[1][index - self._starts[block]]
        return self._unpack(marshal.loads(row))  # noqa: S302

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Shelf({list(self)!r})"
