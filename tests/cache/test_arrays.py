"""Hidden states and heads on disk: every number is found under its own layer, head and prompt."""

from __future__ import annotations

import json
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
from cache.arrays import Heads, States, shard_rows, write_heads, write_states
from cache.errors import DamagedArtifact
from cache.shards import to_bfloat16_bits

Array = np.ndarray[Any, Any]
LAYERS = st.sets(st.integers(0, 40), min_size=1, max_size=5).map(sorted)
PAIRS = st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6)
DTYPES = st.sampled_from(["float32", "float16", "bfloat16"])


def pieces(values: Array) -> Iterator[Array]:
    rows = shard_rows(len(values))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def sample(*shape: int, dtype: str = "float32") -> tuple[Array, Array]:
    """Stored numbers of a shape, and what they are as float32."""
    # Every number is a whole one below 256, which each of the dtypes holds exactly.
    values = np.random.default_rng(sum(shape)).integers(-255, 256, size=shape).astype(np.float32)
    return (to_bfloat16_bits(values) if dtype == "bfloat16" else values.astype(dtype)), values


def write(path: Path, stored: Array, layers: list[int], dtype: str = "float32") -> States:
    segments, prompts, _, dim = stored.shape
    write_states(
        path, pieces(stored), segments=segments, layers=layers, dim=dim, logical_dtype=dtype,
        prompts=prompts,
    )  # fmt: skip
    return States.open(path)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 3)


@pytest.mark.usefixtures("small_shards")
@settings(max_examples=40, deadline=None)
@given(LAYERS, st.integers(1, 3), st.integers(1, 8), DTYPES)
def test_a_layer_is_read_by_its_number_and_prompt(
    tmp_path_factory: pytest.TempPathFactory,
    layers: list[int],
    prompts: int,
    segments: int,
    dtype: str,
) -> None:
    stored, values = sample(segments, prompts, len(layers), 4, dtype=dtype)
    states = write(tmp_path_factory.mktemp("states") / "s", stored, layers, dtype)
    assert (states.segments, states.prompts, states.layers) == (segments, prompts, tuple(layers))
    assert (states.dim, states.logical_dtype) == (4, dtype)
    for prompt in range(prompts):
        for place, number in enumerate(layers):
            found = states.layer(number, prompt)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, values[:, prompt, place])
            some = np.flatnonzero(np.random.default_rng(segments).random(segments) < 0.4)
            np.testing.assert_array_equal(states.rows(number, some, prompt), found[some])
        places, buffer = range(len(layers)), states.array.form.buffer(len(layers))
        for shard in range(states.array.shards):
            (block,) = states.stored(shard, [places], buffer, prompt)
            mine = stored[states.array.segments_of(shard), prompt].swapaxes(0, 1)
            assert block.tobytes() == mine.tobytes()


@pytest.mark.usefixtures("small_shards")
def test_shards_without_a_wanted_row_are_not_read(tmp_path: Path) -> None:
    stored, values = sample(8, 1, 2, 5)
    states = write(tmp_path / "s", stored, [0, 1])
    for shard in (0, 2):
        path = tmp_path / "s" / "c" / str(shard) / "0" / "0"
        path.write_bytes(path.read_bytes()[::-1])
    np.testing.assert_array_equal(states.rows(1, np.asarray([3, 5])), values[[3, 5], 0, 1])
    with pytest.raises(DamagedArtifact):
        states.rows(1, np.asarray([3, 6]))


@pytest.mark.usefixtures("small_shards")
def test_the_layout_is_plain_zarr_with_one_chunk_per_prompt_and_layer(tmp_path: Path) -> None:
    stored, values = sample(7, 2, 3, 5)
    write(tmp_path / "s", stored, [2, 3, 9])
    array = zarr.open_array(tmp_path / "s", mode="r")
    assert (array.shape, array.shards, array.chunks) == ((7, 6, 5), (3, 6, 5), (3, 1, 5))
    assert array.attrs["layers"] == [2, 3, 9]
    assert array.attrs["prompts"] == 2
    assert array.attrs["logical_dtype"] == "float32"
    assert array.attrs["shape"] == [7, 6, 5]
    np.testing.assert_array_equal(array[:, 1 * 3 + 2], values[:, 1, 2])


def test_what_is_not_kept_is_an_error_that_names_what_is(tmp_path: Path) -> None:
    states = write(tmp_path / "s", sample(2, 1, 4, 3)[0], [16, 17, 18, 24])
    with pytest.raises(IndexError, match="layer 0 asked for, there are 16 to 18, 24"):
        states.layer(0)
    with pytest.raises(IndexError, match="prompt 1 asked for, there are 0"):
        states.layer(16, 1)
    with pytest.raises(IndexError, match="prompt -1"):
        states.stored(0, [[0]], states.array.form.buffer(), -1)
    assert repr(states) == (
        "States(s, segments=2, prompts=1, layers=[16 to 18, 24], dim=3, dtype=float32)"
    )


@pytest.mark.parametrize(
    ("layers", "prompts", "message"),
    [
        ([], 1, "layers"),
        ([3, 2], 1, "increasing"),
        ([2, 2], 1, "increasing"),
        ([-1, 2], 1, "from 0 on"),
        ([1, 2], 0, "0 prompts given"),
    ],
)
def test_layers_that_are_not_sorted_numbers_are_refused(
    tmp_path: Path, layers: list[int], prompts: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_states(
            tmp_path / "s", [], segments=1, layers=layers, dim=2, logical_dtype="float32",
            prompts=prompts,
        )  # fmt: skip
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 2, 5), (2, 1, 3, 5), (2, 2, 3, 4)])
def test_blocks_of_another_form_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    block = np.zeros(shape, dtype=np.float32)
    with pytest.raises(ValueError, match=r"expected \(2, 2, 3, 5\) float32"):
        write_states(
            tmp_path / "s", iter([block]), segments=2, layers=[0, 1, 2], dim=5,
            logical_dtype="float32", prompts=2,
        )  # fmt: skip


@pytest.mark.usefixtures("small_shards")
@settings(max_examples=40, deadline=None)
@given(PAIRS.map(sorted), st.integers(1, 3), st.integers(1, 8), DTYPES)
def test_a_head_is_read_by_its_layer_number_and_prompt(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[int, int]],
    prompts: int,
    segments: int,
    dtype: str,
) -> None:
    stored, values = sample(segments, prompts, len(pairs), 4, dtype=dtype)
    path = tmp_path_factory.mktemp("heads") / "h"
    write_heads(
        path, pieces(stored), segments=segments, heads=pairs, head_dim=4, logical_dtype=dtype,
        prompts=prompts,
    )  # fmt: skip
    heads = Heads.open(path)
    assert (heads.segments, heads.prompts, heads.heads) == (segments, prompts, tuple(pairs))
    assert (heads.head_dim, heads.logical_dtype) == (4, dtype)
    for prompt in range(prompts):
        for place, pair in enumerate(pairs):
            found = heads.head(*pair, prompt)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, values[:, prompt, place])


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_all_heads_each_is_a_slice_of_its_layer(tmp_path: Path, dtype: str) -> None:
    layers, per_layer, dim = 3, 4, 5
    stored, values = sample(7, 2, layers, per_layer, dim, dtype=dtype)
    write_heads(
        tmp_path / "h", pieces(stored.reshape(7, 2, layers, per_layer * dim)), segments=7,
        whole=(layers, per_layer), head_dim=dim, logical_dtype=dtype, prompts=2,
    )  # fmt: skip
    heads = Heads.open(tmp_path / "h")
    assert heads.head_dim == dim
    assert heads.heads == tuple((layer, head) for layer in range(3) for head in range(4))
    for prompt in range(2):
        for layer, head in heads.heads:
            found = heads.head(layer, head, prompt)
            np.testing.assert_array_equal(found, values[:, prompt, layer, head])
        for layer in range(3):
            found = heads.of_layer(layer, prompt)
            np.testing.assert_array_equal(found, values[:, prompt, layer])
    array = zarr.open_array(tmp_path / "h", mode="r")
    assert array.shape == (7, 2 * layers, per_layer * dim)
    said = {name: array.attrs[name] for name in ("heads", "layers", "heads_per_layer", "prompts")}
    assert said == {"heads": "all", "layers": 3, "heads_per_layer": 4, "prompts": 2}
    with pytest.raises(
        IndexError, match=r"head \[3, 0\] asked for, .*12 from \[0, 0\] to \[2, 3\]"
    ):
        heads.head(3, 0)
    with pytest.raises(IndexError, match="prompt 2 asked for, there are 0, 1"):
        heads.head(0, 0, 2)
    assert repr(heads) == f"Heads(h, segments=7, prompts=2, heads=12, head_dim=5, dtype={dtype})"


def test_a_head_that_is_not_kept_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    write_heads(
        tmp_path / "h", [sample(2, 1, 2, 3)[0]], segments=2, heads=[(18, 4), (23, 27)], head_dim=3,
        logical_dtype="float32",
    )  # fmt: skip
    with pytest.raises(IndexError, match=r"\[18, 5\] asked for, there are \[18, 4\], \[23, 27\]"):
        Heads.open(tmp_path / "h").head(18, 5)


def test_the_kept_heads_of_a_layer_come_together(tmp_path: Path) -> None:
    stored, values = sample(6, 2, 4, 3)
    pairs = [(18, 4), (20, 0), (20, 9), (23, 27)]
    write_heads(
        tmp_path / "h", [stored], segments=6, heads=pairs, head_dim=3, logical_dtype="float32",
        prompts=2,
    )  # fmt: skip
    heads = Heads.open(tmp_path / "h")
    for prompt in range(2):
        for layer, places in ((18, [0]), (20, [1, 2]), (23, [3])):
            np.testing.assert_array_equal(heads.of_layer(layer, prompt), values[:, prompt, places])
    with pytest.raises(IndexError, match=r"heads of layer 19 asked for, there are \[18, 4\], "):
        heads.of_layer(19)
    with pytest.raises(IndexError, match="prompt 2 asked for"):
        heads.of_layer(18, 2)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"heads": [(0, 0)], "whole": (1, 1)},
        {"heads": [(1, 0), (0, 3)]},
        {"heads": [(1, -1)]},
        {"whole": (0, 4)},
        {"whole": (4, 0)},
        {"heads": [(0, 0)], "prompts": 0},
    ],
)
def test_heads_are_sorted_pairs_or_all_of_a_model(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|not both"):
        write_heads(
            tmp_path / "h", [], segments=1, head_dim=2, logical_dtype="float32", **given
        )  # fmt: skip
    assert not (tmp_path / "h").exists()


def test_states_do_not_open_as_heads_nor_heads_as_states(tmp_path: Path) -> None:
    write(tmp_path / "s", sample(2, 1, 2, 3)[0], [0, 1])
    write_heads(
        tmp_path / "h", [sample(2, 1, 2, 3)[0]], segments=2, heads=[(0, 0), (0, 1)], head_dim=3,
        logical_dtype="float32",
    )  # fmt: skip
    with pytest.raises(DamagedArtifact, match="does not describe attention heads"):
        Heads.open(tmp_path / "s")
    with pytest.raises(DamagedArtifact, match="does not describe hidden states"):
        States.open(tmp_path / "h")


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), kind=st.sampled_from(["states", "heads", "whole"]))
def test_a_flipped_bit_in_the_record_never_gives_a_number_another_name(
    tmp_path_factory: pytest.TempPathFactory, position: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("flip") / "a"
    stored, values = sample(3, 2, 2, 4)
    if kind == "states":
        write(folder, stored, [16, 24])
    else:
        chosen: dict[str, Any] = {"heads": [(18, 4), (23, 27)], "head_dim": 4}
        whole: dict[str, Any] = {"whole": (2, 2), "head_dim": 2}
        write_heads(
            folder, [stored], segments=3, logical_dtype="float32", prompts=2,
            **(chosen if kind == "heads" else whole),
        )  # fmt: skip
    record = folder / "zarr.json"
    content = bytearray(record.read_bytes())
    position %= len(content) * 8
    content[position // 8] ^= 1 << (position % 8)
    record.write_bytes(content)
    try:
        if kind == "states":
            found = States.open(folder).layer(24, 1)
            expected = values[:, 1, 1]
        elif kind == "heads":
            found = Heads.open(folder).head(23, 27, 1)
            expected = values[:, 1, 1]
        else:
            found = Heads.open(folder).head(1, 1, 1)
            expected = values[:, 1, 1, 2:]
    except DamagedArtifact:
        return
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [16, 20, 25]},
        {"layers": [16, 20]},
        {"layers": [20, 16, 24]},
        {"layers": "all"},
        {"layers": None},
        {"prompts": 2},
        {"prompts": 0},
    ],
)
@pytest.mark.parametrize("summed", [False, True])
def test_names_that_do_not_fit_the_array_are_damage(
    tmp_path: Path, change: dict[str, Any], summed: bool
) -> None:
    write(tmp_path / "s", sample(2, 1, 3, 4)[0], [16, 20, 24])
    record = tmp_path / "s" / "zarr.json"
    document = json.loads(record.read_text())
    said = {**document["attributes"], **change}
    if summed:  # as another program would write it, which knows of the check sum
        rest = {name: value for name, value in said.items() if name != "crc32"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        said["crc32"] = f"{zlib.crc32(text.encode()):08x}"
    record.write_text(json.dumps({**document, "attributes": said}))
    if summed and change == {"layers": [16, 20, 25]}:
        assert States.open(tmp_path / "s").layers == (16, 20, 25)
        return
    with pytest.raises(DamagedArtifact, match=r"zarr\.json"):
        States.open(tmp_path / "s")
