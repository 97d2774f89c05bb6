"""Sharded arrays on disk: exact both ways, and never a wrong number from a damaged file."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import shards
from cache.errors import DamagedArtifact, StoreTooNew
from cache.shards import (
    ShardedArray,
    from_bfloat16_bits,
    shard_rows,
    to_bfloat16_bits,
    write_shards,
)

SHAPE = (7, 3, 5)
EDGES = [0, -0.0, 1, 65536, np.inf, -np.inf, np.nan]


def pieces(values: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    rows = shard_rows(len(values))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def write(path: Path, values: np.ndarray[Any, Any], logical_dtype: str, **more: Any) -> None:
    options: dict[str, Any] = {
        "segments": len(values),
        "inner": values.shape[1:],
        "names": ("segment", "slot", "width"),
        "attributes": {"of": "a test"},
        **more,
    }
    write_shards(path, pieces(values), logical_dtype=logical_dtype, **options)


def write_blocks(path: Path, blocks: list[np.ndarray[Any, Any]]) -> None:
    write_shards(
        path, blocks, segments=7, inner=(3, 5), logical_dtype="float32",
        names=("segment", "slot", "width"), attributes={},
    )  # fmt: skip


def read(path: Path) -> np.ndarray[Any, Any]:
    array = ShardedArray.open(path)
    return np.stack([array.slot(slot) for slot in range(array.shape[1])], axis=1)


def sample(dtype: str, shape: tuple[int, int, int] = SHAPE) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return to_bfloat16_bits(values) if dtype == "bfloat16" else values.astype(dtype)


def as_float32(stored: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Independent reading of the stored numbers: bfloat16 is the upper half of a float32."""
    if stored.dtype == np.uint16:
        padded = np.zeros((*stored.shape, 2), dtype="<u2")
        padded[..., 1] = stored
        return padded.view("<f4")[..., 0]
    return stored.astype(np.float32)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 3)


@given(st.integers(1, 200_000))
def test_shards_hold_at_most_512_rows_and_waste_less_than_one_row_each(segments: int) -> None:
    rows = shard_rows(segments)
    shards = math.ceil(segments / 512)
    assert rows <= 512
    assert 0 <= shards * rows - segments < shards


def test_no_segment_is_no_array() -> None:
    with pytest.raises(ValueError, match="at least 1 segment"):
        shard_rows(0)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_written_is_read_exactly(tmp_path: Path, dtype: str) -> None:
    stored = sample(dtype)
    write(tmp_path / "a.zarr", stored, dtype)
    array = ShardedArray.open(tmp_path / "a.zarr")
    expected = as_float32(stored)
    assert array.shape == SHAPE
    assert array.logical_dtype == dtype
    assert array.attributes["of"] == "a test"
    for slot in range(SHAPE[1]):
        found = array.slot(slot)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[:, slot])
    assert (array.rows, array.shards) == (3, 3)
    for slots in ([0, 1, 2], [1, 2], [2]):
        for shard in range(3):
            (block,) = array.stored(shard, [slots], array.form.buffer(3))
            mine = stored[array.segments_of(shard)][:, slots].swapaxes(0, 1)
            assert block.tobytes() == mine.tobytes()
    assert "7, 3, 5" in repr(array)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 1100),
    st.lists(st.integers(1, 3), min_size=2, max_size=3),
    st.sampled_from(["float32", "float16", "bfloat16"]),
)
def test_rows_of_any_form_are_slots_and_a_width(
    tmp_path_factory: pytest.TempPathFactory, segments: int, inner: list[int], dtype: str
) -> None:
    values = np.random.default_rng(segments).normal(size=(segments, *inner)).astype(np.float32)
    stored = to_bfloat16_bits(values) if dtype == "bfloat16" else values.astype(dtype)
    folder = tmp_path_factory.mktemp("form") / "a.zarr"
    write(folder, stored, dtype)
    np.testing.assert_array_equal(read(folder), as_float32(stored).reshape(segments, -1, inner[-1]))


@pytest.mark.usefixtures("small_shards")
def test_the_layout_is_plain_zarr_with_one_chunk_per_layer(tmp_path: Path) -> None:
    values = sample("float32")
    write(tmp_path / "states.zarr", values, "float32")
    array = zarr.open_array(tmp_path / "states.zarr", mode="r")
    assert (array.shards, array.chunks) == ((3, 3, 5), (3, 1, 5))
    assert math.isnan(array.fill_value)
    np.testing.assert_array_equal(array[:], values)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_chunks_of_one_value_are_written_too(tmp_path: Path, dtype: str, value: float) -> None:
    flat = np.full(SHAPE, value, dtype=np.float32)
    stored = to_bfloat16_bits(flat) if dtype == "bfloat16" else flat.astype(dtype)
    write(tmp_path / "states.zarr", stored, dtype)
    np.testing.assert_array_equal(read(tmp_path / "states.zarr")[:, 1], flat[:, 1])


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, sample("bfloat16"), "bfloat16")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*"))
    assert [str(f) for f in files] == ["c", "c/0", "c/0/0", "c/0/0/0", "zarr.json"]
    for file in files:
        if (tmp_path / "a" / file).is_file():
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.usefixtures("small_shards")
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_never_a_wrong_number(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = sample("float16")
    folder = tmp_path_factory.mktemp("flip") / "states.zarr"
    write(folder, values, "float16")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    content[position // 8] ^= 1 << (position % 8)
    file.write_bytes(content)
    try:
        found = read(folder)
    except DamagedArtifact:
        return
    # A changed letter in a name that nobody reads, or a zero that fills a shard's last rows.
    assert file.name == "zarr.json"
    np.testing.assert_array_equal(found, as_float32(values))
    assert found.shape == SHAPE
    assert ShardedArray.open(folder).attributes["of"] == "a test"


@pytest.mark.usefixtures("small_shards")
def test_every_flipped_bit_of_a_shard_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "s", sample("float16", (2, 1, 2)), "float16")
    shard = tmp_path / "s" / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    for position in range(len(whole) * 8):
        content = bytearray(whole)
        content[position // 8] ^= 1 << (position % 8)
        shard.write_bytes(content)
        with pytest.raises(DamagedArtifact):
            read(tmp_path / "s")


def exchange(one: Path, two: Path) -> None:
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


@pytest.mark.usefixtures("small_shards")
def test_a_sound_shard_of_another_array_or_place_is_not_taken_for_its_own(tmp_path: Path) -> None:
    values = sample("float16")
    write(tmp_path / "one", values, "float16")
    write(tmp_path / "two", values[::-1].copy(), "float16")
    shard = Path("c/1/0/0")
    exchange(tmp_path / "one" / shard, tmp_path / "two" / shard)
    for name in ("one", "two"):
        with pytest.raises(DamagedArtifact, match=r"shard 1.*slot 0 is not the one"):
            read(tmp_path / name)
    exchange(tmp_path / "one" / shard, tmp_path / "two" / shard)
    exchange(tmp_path / "one" / shard, tmp_path / "one" / "c/0/0/0")
    with pytest.raises(DamagedArtifact, match=r"shard 0.*slot 0 is not the one"):
        read(tmp_path / "one")


def test_sound_chunks_that_changed_places_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / "s", sample("float16"), "float16")
    shard = tmp_path / "s" / "c/0/0/0"
    content = shard.read_bytes()
    step = 7 * 5 * 2 + 4
    shard.write_bytes(content[step : 2 * step] + content[:step] + content[2 * step :])
    array = ShardedArray.open(tmp_path / "s")
    for slot in (0, 1):
        with pytest.raises(DamagedArtifact, match=f"slot {slot} is not the one"):
            array.slot(slot)
    np.testing.assert_array_equal(array.slot(2), as_float32(sample("float16"))[:, 2])


def rewrite_record(folder: Path, **changes: Any) -> None:
    """Change what an array says of itself (None removes), with the right check sum."""
    document = json.loads((folder / "zarr.json").read_text())
    said = {**document["attributes"], **changes}
    said = {name: value for name, value in said.items() if value is not None}
    rest = {name: value for name, value in said.items() if name != "crc32"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    said["crc32"] = f"{zlib.crc32(text.encode()):08x}"
    (folder / "zarr.json").write_text(json.dumps({**document, "attributes": said}))


def test_an_array_of_an_older_hiprobe_is_read_and_one_of_a_newer_refused(tmp_path: Path) -> None:
    values = sample("float16")
    write(tmp_path / "s", values, "float16")
    rewrite_record(tmp_path / "s", format=2)
    with pytest.raises(StoreTooNew, match="format 2, this hiprobe reads up to 1"):
        ShardedArray.open(tmp_path / "s")
    rewrite_record(tmp_path / "s", format=None, chunk_crc32c=None)
    np.testing.assert_array_equal(read(tmp_path / "s"), as_float32(values))


@pytest.mark.parametrize("sums", [None, [], [""], ["00" * 12, "00" * 12], [12], "text", 7])
def test_check_sums_that_do_not_fit_the_array_are_damage(tmp_path: Path, sums: Any) -> None:
    write(tmp_path / "s", sample("float16"), "float16")
    rewrite_record(tmp_path / "s", chunk_crc32c=sums)
    with pytest.raises(DamagedArtifact, match=r"zarr\.json"):
        ShardedArray.open(tmp_path / "s")


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("harm", ["delete", "shorten", "lengthen"])
def test_a_shard_that_is_not_whole_is_named(tmp_path: Path, when: str, harm: str) -> None:
    write(tmp_path / "s", sample("float32"), "float32")
    shard = tmp_path / "s" / "c" / "1" / "0" / "0"
    array = ShardedArray.open(tmp_path / "s")
    if harm == "delete":
        shard.unlink()
    elif harm == "shorten":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.write_bytes(shard.read_bytes() + b"\0")
    if when == "before":
        with pytest.raises(DamagedArtifact, match="shard 1"):
            ShardedArray.open(tmp_path / "s")
    else:
        with pytest.raises(DamagedArtifact, match="shard 1"):
            array.slot(0)
        buffer = array.form.buffer(3)
        assert len(list(array.stored(0, [[0, 1, 2]], buffer))) == 1
        with pytest.raises(DamagedArtifact, match="shard 1"):
            list(array.stored(1, [[0, 1, 2]], buffer))


@pytest.mark.parametrize("name", ["shape", "data_type", "attributes", "codecs", "fill_value"])
def test_a_record_that_disagrees_with_itself_is_damage(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s", sample("float16"), "float16")
    record = tmp_path / "s" / "zarr.json"
    document = json.loads(record.read_text())
    document[name] = {
        "shape": [6, 3, 5],
        "data_type": "uint16",
        "attributes": {**document["attributes"], "of": "another"},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "fill_value": 0.0,
    }[name]
    record.write_text(json.dumps(document))
    with pytest.raises(DamagedArtifact, match=r"zarr\.json"):
        ShardedArray.open(tmp_path / "s")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"zarr_format": 3}'])
def test_a_folder_that_is_no_array_is_damage(tmp_path: Path, content: str | None) -> None:
    write(tmp_path / "s", sample("float16"), "float16")
    (tmp_path / "s" / "zarr.json").unlink()
    if content is not None:
        (tmp_path / "s" / "zarr.json").write_text(content)
    with pytest.raises(DamagedArtifact):
        ShardedArray.open(tmp_path / "s")


def test_an_unfinished_array_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 segments were announced and 0 written"):
        write_blocks(tmp_path / "s", [])
    with pytest.raises(DamagedArtifact):
        ShardedArray.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("shape", "dtype"), [((6, 3, 5), "float32"), ((7, 2, 5), "float32"), (SHAPE, "float64")]
)
def test_blocks_that_do_not_fit_are_refused(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str
) -> None:
    block = np.zeros(shape, dtype=dtype)
    with pytest.raises(ValueError, match="block at segment 0"):
        write_blocks(tmp_path / "s", [block])


def test_an_array_is_written_once_and_in_a_known_dtype(tmp_path: Path) -> None:
    write(tmp_path / "s", sample("float32"), "float32")
    with pytest.raises(FileExistsError):
        write(tmp_path / "s", sample("float32"), "float32")
    with pytest.raises(ValueError, match="float64"):
        write(tmp_path / "t", np.zeros(SHAPE), "float64")


def test_bfloat16_rounds_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(3)
    values = generator.integers(0, 2**32, size=20_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values, np.asarray(EDGES, dtype=np.float32)])
    ours = from_bfloat16_bits(to_bfloat16_bits(values))
    theirs = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


def test_an_array_can_be_moved(tmp_path: Path) -> None:
    write(tmp_path / "s", sample("float32"), "float32")
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    np.testing.assert_array_equal(read(tmp_path / "elsewhere"), sample("float32"))
