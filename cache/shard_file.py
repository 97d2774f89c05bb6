"""One shard of an array as a file: read by position, and every byte that is used checked.

A shard lies uncompressed, so a chunk is a range of its file: `pread` into a buffer that the caller
uses again is five times as fast as the way through Zarr's codecs, and it does without Zarr. No
memory map: a file that shrinks under one ends the whole process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.errors import DamagedArtifact

CRC_BYTES = 4
_PLACE_BYTES = 16
"""What the index says of a chunk: offset and length, 8 bytes each."""


@dataclass(frozen=True, slots=True)
class ShardForm:
    """The sizes that every shard of an array has."""

    slots: int
    rows: int
    """Rows of a chunk; of the last shard some may be padding."""
    width: int
    dtype: str
    """Of the stored numbers, with its byte order: "<f4", "<f2" or "<u2"."""

    @property
    def chunk(self) -> int:
        """Bytes of a chunk, without its check sum."""
        return self.rows * self.width * np.dtype(self.dtype).itemsize

    @property
    def index(self) -> int:
        """Bytes of the index at the end of the file, with its check sum."""
        return self.slots * _PLACE_BYTES + CRC_BYTES

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.slots * (self.chunk + CRC_BYTES) + self.index

    def buffer(self, slots: int = 1) -> NDArray[np.uint8]:
        """A place for `slots` chunks with their check sums, for `ShardFile.chunks` to fill."""
        return np.empty(slots * (self.chunk + CRC_BYTES), dtype=np.uint8)


class ShardFile:
    """A shard, open for reading: use it in a `with`. Raises DamagedArtifact where it is not whole."""

    def __init__(self, path: Path, number: int, name: str, form: ShardForm, sums: str = "") -> None:
        """Open the file at `path`: shard `number` of the array `name`, which messages name.

        `sums` is what `sums()` gave when the shard was written: the chunks must have these. Without
        it they must only have the ones that they carry themselves.
        """
        self._what, self._form = f"{name}: shard {number}", form
        self._sums = sums
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise not_whole(self._what, form, None) from error
        try:
            if (size := os.fstat(self._file).st_size) != form.size:
                raise not_whole(self._what, form, size)
            self._offsets = self._index()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> ShardFile:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        os.close(self._file)

    def chunks(self, slots: Sequence[int], buffer: NDArray[np.uint8]) -> NDArray[Any]:
        """The stored numbers of some slots, [slots, rows, width]: a view of `buffer`.

        Slots that lie one after the other are one read. What was there before is overwritten.
        """
        form, step = self._form, self._form.chunk + CRC_BYTES
        places = [self._offsets[slot] for slot in slots]
        start = 0
        for stop in range(1, len(places) + 1):
            if stop == len(places) or places[stop] != places[stop - 1] + step:
                self._read(buffer[start * step : stop * step], places[start])
                start = stop
        for place, slot in enumerate(slots):
            chunk = buffer[place * step : (place + 1) * step]
            self._check(chunk, f"the chunk of slot {slot}")
            if self._sums and chunk[-CRC_BYTES:].tobytes().hex() != self._sum_of(slot):
                raise self._damaged(f"the chunk of slot {slot} is not the one that was written")
        size = np.dtype(form.dtype).itemsize
        return np.ndarray(
            (len(slots), form.rows, form.width),
            form.dtype,
            buffer.data,
            strides=(step, form.width * size, size),
        )

    def sums(self) -> str:
        """The check sums that the chunks carry, as they lie, hexadecimal, slot after slot."""
        found = np.empty(CRC_BYTES, dtype=np.uint8)
        text = []
        for offset in self._offsets:
            self._read(found, offset + self._form.chunk)
            text.append(found.tobytes().hex())
        return "".join(text)

    def _sum_of(self, slot: int) -> str:
        return self._sums[2 * CRC_BYTES * slot : 2 * CRC_BYTES * (slot + 1)]

    def _index(self) -> list[int]:
        """Offset of every chunk. They fill the file from its start, each once, in any order."""
        form = self._form
        footer = np.empty(form.index, dtype=np.uint8)
        self._read(footer, form.size - form.index)
        self._check(footer, "the index")
        offsets, lengths = footer[:-CRC_BYTES].view("<u8").reshape(form.slots, 2).T
        step = form.chunk + CRC_BYTES
        places = np.arange(form.slots, dtype=np.uint64) * np.uint64(step)
        if not ((lengths == step).all() and (np.sort(offsets) == places).all()):
            raise self._damaged("the index says that a chunk is missing or has another length")
        return [int(offset) for offset in offsets]

    def _read(self, buffer: NDArray[np.uint8], offset: int) -> None:
        done, view = 0, buffer.data
        while done < len(buffer):
            try:
                count = os.preadv(self._file, [view[done:]], offset + done)
            except OSError as error:
                raise self._damaged(f"reading fails ({error})") from error
            if count == 0:
                raise self._damaged(f"the file ends before byte {offset + len(buffer)}")
            done += count

    def _check(self, buffer: NDArray[np.uint8], part: str) -> None:
        said = int.from_bytes(buffer[-CRC_BYTES:].tobytes(), "little")
        if google_crc32c.value(buffer[:-CRC_BYTES]) != said:
            raise self._damaged(f"{part} does not have its check sum")

    def _damaged(self, why: str) -> DamagedArtifact:
        return DamagedArtifact(
            f"{self._what} does not decode: {why}; verify the store, this artifact must be "
            "computed again"
        )


def not_whole(what: str, form: ShardForm, size: int | None) -> DamagedArtifact:
    """The error for a shard that has `size` bytes (None: no such file) and should have others."""
    state = "is missing" if size is None else f"has {size} bytes"
    return DamagedArtifact(
        f"{what} {state}, expected {form.size} bytes; this artifact must be computed again"
    )
