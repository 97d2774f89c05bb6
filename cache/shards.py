"""A Zarr 3 array [segments, slots, width] that cannot lie: what hidden states and heads lie in.

A Zarr array left to its defaults gives wrong numbers for a flipped bit and fill values for a shard
that is gone. Here every inner chunk and every shard index carries a crc32c, the fill value is NaN,
empty chunks are written, what the record says of the array carries a crc32, and every read first
checks that each shard is there with the one size it can have. The record also lists the check sum of
every chunk, so that the sound shard of another array, or another chunk of this one, is not taken for
the one that belongs there.

Layout: shard (c, slots, width), inner chunk (c, 1, width), so that one slot of a shard is one range.
NumPy has no bfloat16: its bits are kept as uint16 with the attribute `logical_dtype`.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DamagedArtifact, StoreTooNew
from cache.keys import canonical
from cache.precision import STORED, from_bfloat16_bits, to_bfloat16_bits, widen
from cache.shard_file import CRC_BYTES, ShardFile, ShardForm, not_whole

__all__ = ["ShardedArray", "from_bfloat16_bits", "shard_rows", "to_bfloat16_bits", "write_shards"]

SHARD_ROWS = 512
"""Segments that a shard holds at most."""

FORMAT = 1
"""Version of what the record says, beside Zarr's own; one without it (0) lists no check sums."""

_BFLOAT16_NAN = 0x7FC0


def shard_rows(segments: int) -> int:
    """Segments per shard of a video: near 512, and evenly spread over its shards."""
    if segments < 1:
        raise ValueError(f"an array of hidden states has at least 1 segment, {segments} given")
    shards = -(-segments // SHARD_ROWS)
    return -(-segments // shards)


def write_shards(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    *,
    segments: int,
    inner: tuple[int, ...],
    logical_dtype: str,
    names: tuple[str, str, str],
    attributes: Mapping[str, Any],
    finished: Callable[[Path], None] | None = None,
) -> None:
    """Write one array into the new folder `path`, shard by shard; `names` are its dimensions'.

    `finished` is called with the file of every shard when it is complete.

    Each block is [shard_rows(segments), *inner] (the last may be shorter), where the last of
    `inner` is the width and the others together count the slots; of the logical dtype "float32" or
    "float16", or uint16 bits for "bfloat16". Only whole shards are ever written. Raises
    FileExistsError where the folder is there, ValueError for blocks that do not fit.
    """
    stored = _stored_dtype(logical_dtype)
    rows = shard_rows(segments)
    if path.exists():
        raise FileExistsError(f"{path.name} exists already: hidden states are written once")
    shape = (segments, math.prod(inner[:-1]), inner[-1])
    array = _create(path, shape, rows, names, logical_dtype)
    start = 0
    for block in blocks:
        expected = (min(rows, segments - start), *inner)
        if block.shape != expected or block.dtype != stored or expected[0] < 1:
            raise ValueError(
                f"block at segment {start}: expected {expected} {stored}, "
                f"got {block.shape} {block.dtype}"
            )
        array[start : start + len(block)] = block.reshape(len(block), *shape[1:])
        if finished is not None:
            finished(_file_of(path, start // rows))
        start += len(block)
    if start != segments:
        raise ValueError(f"{segments} segments were announced and {start} written")
    _seal(array, path, ShardForm(shape[1], rows, shape[2], stored.str), attributes, logical_dtype)


@dataclass(frozen=True, repr=False)
class ShardedArray:
    """An array on disk, made by `ShardedArray.open`. Every read is checked."""

    path: Path
    shape: tuple[int, int, int]
    """[segments, slots, width]."""
    logical_dtype: str
    """float32, float16 or bfloat16: the precision of the stored numbers."""
    attributes: Mapping[str, Any]
    """What the writer says of the array."""

    @classmethod
    def open(cls, path: Path) -> ShardedArray:
        """Open an array that `write_shards` wrote.

        Raises DamagedArtifact where it is not whole, StoreTooNew for one of a newer format.
        """
        try:
            document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
            _refuse_newer(path.name, document["attributes"])
            shape, attributes = _checked_metadata(path.name, document)
        except StoreTooNew:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedArtifact(f"{path.name}: zarr.json cannot be read: {error}") from error
        found = cls(path, shape, str(attributes["logical_dtype"]), attributes)
        for shard in range(found.shards):
            found._check_size(shard)
        return found

    @property
    def rows(self) -> int:
        """Segments per shard."""
        return shard_rows(self.shape[0])

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.shape[0] // self.rows)

    @property
    def form(self) -> ShardForm:
        """The sizes of every shard."""
        _, slots, width = self.shape
        return ShardForm(slots, self.rows, width, STORED[self.logical_dtype])

    def segments_of(self, shard: int) -> slice:
        """Which segments a shard holds."""
        return slice(shard * self.rows, min((shard + 1) * self.rows, self.shape[0]))

    def slot(self, slot: int) -> NDArray[np.float32]:
        """One slot of all segments, float32 [segments, width]; raises DamagedArtifact."""
        found = np.empty((self.shape[0], self.shape[2]), dtype=np.float32)
        buffer = self.form.buffer()
        for shard in range(self.shards):
            for stored in self.stored(shard, [[slot]], buffer):
                widen(stored[0], self.logical_dtype, found[self.segments_of(shard)])
        return found

    def rows_of(self, slot: int, segments: NDArray[np.int64]) -> NDArray[np.float32]:
        """One slot of some increasing segments, float32 [segments, width]; raises DamagedArtifact.

        Shards without any of them are not read, and no other row is kept in memory.
        """
        found = np.empty((len(segments), self.shape[2]), dtype=np.float32)
        buffer = self.form.buffer()
        for shard in range(self.shards):
            held = self.segments_of(shard)
            first, stop = np.searchsorted(segments, (held.start, held.stop))
            if first == stop:
                continue
            for stored in self.stored(shard, [[slot]], buffer):
                wanted = stored[0][segments[first:stop] - held.start]
                widen(wanted, self.logical_dtype, found[first:stop])
        return found

    def stored(
        self, shard: int, groups: Iterable[Sequence[int]], buffer: NDArray[np.uint8]
    ) -> Iterator[NDArray[Any]]:
        """Group after group of slots, the numbers of one shard as they lie: [slots, rows, width].

        What is given out is a view of `buffer` (`form.buffer(largest group)`), good until the next
        group. Raises DamagedArtifact.
        """
        rows = self.segments_of(shard)
        sums = self.attributes["chunk_crc32c"][shard] if self.attributes.get("format") else ""
        file = self._file(shard)
        with ShardFile(file, shard, self.path.name, self.form, sums) as opened:
            for slots in groups:
                yield opened.chunks(slots, buffer)[:, : rows.stop - rows.start]

    def _file(self, shard: int) -> Path:
        return _file_of(self.path, shard)

    def _check_size(self, shard: int) -> None:
        file = self._file(shard)
        found = file.stat().st_size if file.is_file() else None
        if found != self.form.size:
            raise not_whole(f"{self.path.name}: shard {shard}", self.form, found)

    def __repr__(self) -> str:
        """Shape and dtype, never data."""
        return f"ShardedArray({self.path.name}, shape={self.shape}, dtype={self.logical_dtype})"


def _file_of(path: Path, shard: int) -> Path:
    return path / "c" / str(shard) / "0" / "0"


def _stored_dtype(logical_dtype: str) -> np.dtype[Any]:
    if logical_dtype not in STORED:
        raise ValueError(f"dtype {logical_dtype!r} given, one of {sorted(STORED)} expected")
    return np.dtype(STORED[logical_dtype])


def _create(
    path: Path,
    shape: tuple[int, int, int],
    rows: int,
    names: tuple[str, str, str],
    logical_dtype: str,
) -> Any:
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

    # Chunks that equal the fill value must be written too. Zarr heeds this only as global
    # configuration (given to a call it is ignored); a scoped change is not safe among threads.
    zarr.config.set({"array.write_empty_chunks": True})
    _, slots, width = shape
    sharding = ShardingCodec(
        chunk_shape=(rows, 1, width),
        codecs=[BytesCodec(endian="little"), Crc32cCodec()],
        index_codecs=[BytesCodec(endian="little"), Crc32cCodec()],
    )
    return zarr.create_array(
        path,
        shape=shape,
        dtype=_stored_dtype(logical_dtype),
        chunks=(rows, slots, width),
        serializer=sharding,
        compressors=None,
        filters=None,
        fill_value=_BFLOAT16_NAN if logical_dtype == "bfloat16" else float("nan"),
        dimension_names=names,
        zarr_format=3,
    )


def _seal(
    array: Any, path: Path, form: ShardForm, attributes: Mapping[str, Any], logical_dtype: str
) -> None:
    """Write what the array says of itself: without it, it does not open."""
    sums = []
    for shard in range(-(-array.shape[0] // form.rows)):
        with ShardFile(_file_of(path, shard), shard, path.name, form) as file:
            sums.append(file.sums())
    said = {
        **attributes,
        "format": FORMAT,
        "logical_dtype": logical_dtype,
        "shape": list(array.shape),
        "chunk_crc32c": sums,
    }
    # A changed digit in zarr.json must not pass for another shape or for another layer.
    array.update_attributes({**said, "crc32": _crc32(said)})


def _crc32(attributes: Mapping[str, Any]) -> str:
    """Check sum of what an array says of itself, hexadecimal."""
    said = {name: value for name, value in attributes.items() if name != "crc32"}
    return f"{zlib.crc32(canonical(said).encode('ascii')):08x}"


def _refuse_newer(name: str, attributes: Mapping[str, Any]) -> None:
    found = attributes.get("format", 0)
    # A flipped bit in the number is damage, not a newer hiprobe: every later format keeps this sum.
    if found > FORMAT and attributes["crc32"] == _crc32(attributes):
        raise StoreTooNew(
            f"{name}: zarr.json has format {found}, this hiprobe reads up to {FORMAT}; install a "
            "newer hiprobe"
        )


def _checked_metadata(name: str, document: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Shape and attributes of a zarr.json whose every statement agrees with the layout."""
    try:
        attributes = document["attributes"]
        logical = attributes["logical_dtype"]
        segments, slots, width = (int(n) for n in attributes["shape"])
        rows = shard_rows(segments)
        found = {
            "a check sum of": attributes["crc32"],
            "shape": document["shape"],
            "data_type": document["data_type"],
            "chunk grid": document["chunk_grid"],
            "chunk keys": document["chunk_key_encoding"],
            "codecs": document["codecs"],
            "fill value": document["fill_value"],
            "lengths of check sums": [len(sums) for sums in attributes.get("chunk_crc32c", ())],
        }
        expected = {
            "a check sum of": _crc32(attributes),
            "shape": [segments, slots, width],
            "data_type": np.dtype(STORED[logical]).name,
            "chunk grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [rows, slots, width]},
            },
            "chunk keys": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [_codec_document(rows, width)],
            "fill value": _BFLOAT16_NAN if logical == "bfloat16" else "NaN",
            "lengths of check sums": [2 * CRC_BYTES * slots] * (-(-segments // rows))
            if attributes.get("format")
            else [],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtifact(f"{name}: zarr.json lacks or garbles {error}") from error
    for what, value in expected.items():
        if found[what] != value:
            raise DamagedArtifact(
                f"{name}: zarr.json says {what} {found[what]}, expected {value}; "
                "this artifact must be computed again"
            )
    return (segments, slots, width), dict(attributes)


def _codec_document(rows: int, width: int) -> dict[str, Any]:
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [rows, 1, width],
            "codecs": plain,
            "index_codecs": plain,
            "index_location": "end",
        },
    }
