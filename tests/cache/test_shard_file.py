"""A shard read by position: nothing that is not whole is ever given out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from cache.errors import DamagedArtifact
from cache.shard_file import ShardFile, ShardForm
from cache.shards import ShardedArray, write_shards

ROWS, SLOTS, WIDTH = 6, 3, 5


@pytest.fixture
def array(tmp_path: Path) -> ShardedArray:
    values = np.random.default_rng(0).normal(size=(ROWS, SLOTS, WIDTH)).astype(np.float16)
    write_shards(
        tmp_path / "a", [values], segments=ROWS, inner=(SLOTS, WIDTH), logical_dtype="float16",
        names=("segment", "slot", "width"), attributes={},
    )  # fmt: skip
    return ShardedArray.open(tmp_path / "a")


def shard(array: ShardedArray) -> Path:
    return array.path / "c" / "0" / "0" / "0"


def read(array: ShardedArray, slot: int = 1) -> np.ndarray[Any, Any]:
    with ShardFile(shard(array), 0, "a", array.form) as file:
        return file.chunks([slot], array.form.buffer())[0].copy()


def with_index(array: ShardedArray, index: np.ndarray[Any, Any]) -> None:
    """Put another index into the file, with the check sum that fits it."""
    content = shard(array).read_bytes()[: -array.form.index]
    body = index.astype("<u8").tobytes()
    crc = google_crc32c.value(body).to_bytes(4, "little")
    shard(array).write_bytes(content + body + crc)


def index_of(array: ShardedArray) -> np.ndarray[Any, Any]:
    footer = shard(array).read_bytes()[-array.form.index : -4]
    return np.frombuffer(footer, dtype="<u8").reshape(SLOTS, 2).copy()


@pytest.mark.parametrize("slots", [[0, 1, 2], [2], [1, 2], [2, 0], [0, 2], [2, 1, 0], [1, 1]])
def test_slots_come_as_views_of_one_buffer_whatever_their_order(
    array: ShardedArray, slots: list[int]
) -> None:
    buffer = array.form.buffer(3)
    expected = [array.slot(slot).astype(np.float16) for slot in range(SLOTS)]
    with ShardFile(shard(array), 0, "a", array.form) as file:
        for chosen in ([0, 1], slots):
            found = file.chunks(chosen, buffer)
            assert np.shares_memory(found, buffer)
            np.testing.assert_array_equal(found, [expected[slot] for slot in chosen])


def test_neighbours_are_one_read(array: ShardedArray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sizes = os.preadv, []

    def counted(file: int, views: list[Any], at: int) -> int:
        sizes.append(len(views[0]))
        return whole(file, views, at)

    monkeypatch.setattr(os, "preadv", counted)
    list(array.stored(0, [[0, 1, 2], [0, 2]], array.form.buffer(3)))
    step = array.form.chunk + 4
    assert sizes == [array.form.index, 3 * step, step, step]


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_every_chunk_of_a_group_is_checked(array: ShardedArray, slot: int) -> None:
    content = bytearray(shard(array).read_bytes())
    content[index_of(array)[slot, 0] + 7] ^= 1
    shard(array).write_bytes(content)
    with pytest.raises(DamagedArtifact, match=f"chunk of slot {slot} does not have its check sum"):
        list(array.stored(0, [[0, 1, 2]], array.form.buffer(3)))


def test_short_reads_are_read_on(array: ShardedArray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, whole = read(array), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: whole(file, [views[0][:3]], at))
    np.testing.assert_array_equal(read(array), expected)


def test_the_index_may_name_the_chunks_in_any_order(array: ShardedArray) -> None:
    index, second = index_of(array), array.slot(1)
    with_index(array, index[[1, 0, 2]])
    np.testing.assert_array_equal(read(array, 0), second.astype(np.float16))


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (1, 0, 2**64 - 1),  # as Zarr marks a chunk that is not there
        (1, 1, 2**64 - 1),
        (1, 0, 0),  # two chunks at one place
        (2, 0, 65),
        (0, 1, 8),
        (2, 0, 2**63),
    ],
)
def test_an_index_that_does_not_fit_is_damage_even_with_its_check_sum(
    array: ShardedArray, row: int, column: int, value: int
) -> None:
    index = index_of(array)
    index[row, column] = value
    with_index(array, index)
    with pytest.raises(DamagedArtifact, match="a: shard 0 does not decode: the index"):
        read(array)


def test_a_file_that_shrinks_while_it_is_open_is_damage(array: ShardedArray) -> None:
    with ShardFile(shard(array), 0, "a", array.form) as file:
        os.truncate(shard(array), 10)
        with pytest.raises(DamagedArtifact, match="ends before byte"):
            file.chunks([2], array.form.buffer())


def test_a_failing_disk_is_damage_with_its_reason(
    array: ShardedArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DamagedArtifact, match="Input/output error"):
        read(array)


def test_no_file_stays_open_whatever_happens(
    array: ShardedArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, closed = [], []
    real_open, real_close = os.open, os.close
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(real_open(*a, **k)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda file: closed.append(file) or real_close(file))
    read(array)
    next(array.stored(0, [[0], [1]], array.form.buffer()))  # left in the middle
    whole = shard(array).read_bytes()
    for content in (whole[:-1], whole[:-1] + b"\0", b"\1" + whole[1:]):
        shard(array).write_bytes(content)
        with pytest.raises(DamagedArtifact):
            read(array, 0)
    assert len(opened) == 5
    assert sorted(opened) == sorted(closed)


def test_sizes_are_those_of_the_layout() -> None:
    form = ShardForm(slots=33, rows=512, width=1024, dtype="<f2")
    assert (form.chunk, form.index) == (1 << 20, 33 * 16 + 4)
    assert form.size == 33 * ((1 << 20) + 4) + 33 * 16 + 4
    assert form.buffer().nbytes == (1 << 20) + 4
