"""A bundle: what is in it, how it is read without hiprobe, and what a run from it gives."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.arrays import Heads, States, shard_rows, write_heads, write_states
from cache.errors import HiprobeError
from cache.store import Store
from manifests.bundled import BUNDLED_SEGMENTS, BUNDLED_VIDEOS
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from pipeline.bundles.arrays import Origin, copy_heads, copy_layers
from pipeline.bundles.contents import array_name, check_bytes, read_sums
from pipeline.bundles.description import dataset_of
from pipeline.bundles.export import Wanted, export
from pipeline.bundles.readme import SNIPPET
from pipeline.bundles.tables import anomalous_frames
from pipeline.commands.options import world_of
from pipeline.plan import plan_all
from pipeline.world import Failure, Video
from tests.cache.stores import failing, flip
from tests.conftest import Called, Demo, call
from tests.pipeline.bundles import chosen, exported, manifest, states_of

Hiprobe = Callable[..., Called]


ISOLATED = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cache", "manifests", "stages", "pipeline", "demo", "torch"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refused())
"""


def test_its_readme_reads_it_without_hiprobe(demo: Demo, own: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (own / "README.md").read_text(), re.DOTALL)
    dump = "\nnp.savez('read.npz', **{v.video_id: read(group[v.array], %d) for v in videos.itertuples()})"
    script = ISOLATED + code + dump % chosen(demo)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=own, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = states_of(demo)
    found = np.load(own / "read.npz")
    assert sorted(found) == sorted(expected)
    assert len(done.stdout.splitlines()) == len(expected)
    for video, states in expected.items():
        layer = states.layer(chosen(demo))
        assert found[video].dtype == np.float32
        assert found[video].tobytes() == layer.tobytes()
        assert video in done.stdout


def test_its_tables_join_rows_with_videos(demo: Demo, bundle: Path) -> None:
    videos = read_table(bundle / "videos.parquet", BUNDLED_VIDEOS).to_pylist()
    segments = read_table(bundle / "segments.parquet", BUNDLED_SEGMENTS).to_pylist()
    scores = read_table(demo.folder / "scores.parquet", RUN_SCORES).to_pylist()
    shared = ("video_id", "segment", "start_frame", "end_frame", "start_s", "end_s")
    assert [[s[n] for n in shared] for s in segments] == [[s[n] for n in shared] for s in scores]
    by_id = {video["video_id"]: video for video in videos}
    for segment in segments:
        video = by_id[segment["video_id"]]
        assert all(segment[n] == video[n] for n in ("split", "label", "subset"))
        if video["label"] == 0:
            assert segment["anomalous_frames"] == 0
    anomalous = [s for s in segments if s["anomalous_frames"]]
    assert {by_id[s["video_id"]]["label"] for s in anomalous} == {1}
    for name, states in states_of(demo).items():
        assert by_id[name]["segments"] == states.segments
        assert by_id[name]["n_frames"] > 0


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=4),
    st.integers(0, 60),
    st.integers(1, 30),
)
def test_anomalous_frames_are_counted_once(
    spans: list[tuple[int, int]], start: int, length: int
) -> None:
    annotations = tuple((first, first + n) for first, n in spans)
    video = Video("v", "v.mp4", 1, "d", "test", 1, "Fight", "", annotations)
    inside = [
        any(first <= frame < stop for first, stop in annotations)
        for frame in range(start, start + length)
    ]
    expected = sum(inside) if annotations else None
    assert anomalous_frames(video, start, start + length) == expected


def test_sha256sum_agrees_with_it_and_lists_every_file(bundle: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=bundle, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    listed = {line[66:] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}


def test_exported_twice_it_is_the_same_bytes(demo: Demo, bundle: Path, tmp_path: Path) -> None:
    again = exported(demo, tmp_path / "again", "--layers", chosen(demo))
    assert (again / "SHA256SUMS").read_bytes() == (bundle / "SHA256SUMS").read_bytes()


def test_nothing_in_it_says_where_or_by_whom_it_was_made(demo: Demo, bundle: Path) -> None:
    import pyarrow.parquet as pq

    told = []
    for path in bundle.rglob("*"):
        if path.suffix == ".parquet":
            told.append(str(pq.read_table(path).to_pydict()) + str(pq.read_metadata(path).metadata))
        elif path.is_file() and path.suffix in (".json", ".md", ".toml", ""):
            told.append(path.read_bytes().decode("latin-1"))
        told.append(path.relative_to(bundle).as_posix())
    text = "\n".join(told)
    assert str(demo.folder.parent) not in text
    assert "/tmp" not in text
    assert str(Path.home()) not in text
    assert '"host"' not in text
    config = (bundle / "run.toml").read_text()
    assert 'store = "hiprobe-store"' in config
    assert 'videos = ""' in config


def test_messages_are_told_without_the_folders_of_the_machine(demo: Demo) -> None:
    world, _ = world_of(demo.config, ())
    where = f"{world.data}/test/x.mp4"
    failed = Failure("test/x", "k", "ItemError", f"[Errno 5] {where}: bad", 1)
    changed = dataclasses.replace(
        world, warnings=(f"see {demo.folder}/data/labels.csv",), unreadable={"test/x": where},
        failures={"decode": {"k": failed}},
    )  # fmt: skip
    said = dataset_of(changed)
    assert said["warnings"] == ["see data/labels.csv"]
    assert said["unreadable"] == {"test/x": "test/x.mp4"}
    assert said["failures"]["decode"][0][3] == "[Errno 5] test/x.mp4: bad"
    assert str(demo.folder) not in str(said)


def test_several_layers_and_heads_can_be_asked_for(demo: Demo, tmp_path: Path) -> None:
    out = exported(demo, tmp_path / "more", "--layers", "5,1", "--heads", "0.1,3.0")
    store = Store(demo.folder / "store")
    for video, states in states_of(demo).items():
        found = States.open(out / "states.zarr" / array_name(video))
        assert found.layers == (1, 5)
        for layer in (1, 5):
            assert found.layer(layer).tobytes() == states.layer(layer).tobytes()
        key = manifest(demo.folder, "forward")[video][0]
        heads = Heads.open(store.folder("forward", key) / "heads.zarr")
        kept = Heads.open(out / "heads.zarr" / array_name(video))
        assert kept.heads == ((0, 1), (3, 0))
        for pair in kept.heads:
            assert kept.head(*pair).tobytes() == heads.head(*pair).tobytes()
    told = call("cache", "check-bundle", out)
    assert "layers 1, 5 and heads [0, 1], [3, 0] of the run demo" in told.out


# What is refused, and what a run from a bundle cannot make.


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--layers", "99"], "--layers: forward keeps layers 0 to 6, not 99"),
        (["--heads", "9.9"], "--heads: forward keeps 24 heads, and not [[9, 9]]"),
        (["--layers", "a"], "give numbers such as 20 or 20,21"),
        (["--heads", "1"], "give layer.head, such as 3.1 or 3.1,4.0"),
        (["--set", "forward.layers=[1,2]"], "items of forward are not made yet"),
        (["--set", "sample.segment_frames=12"], "items of sample are not made yet"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    demo: Demo, tmp_path: Path, words: list[str], text: str
) -> None:
    if "forward.layers" in words[-1]:
        text = "there are no hidden states to export: `hiprobe run --until forward` makes them"
    if "sample" in words[-1]:
        text = "there are no hidden states to export"
    called = call("cache", "export", demo.config, "--out", tmp_path / "b", "--quiet", *words)
    assert called.code == 2
    assert text in called.out
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").touch()
    called = call("cache", "export", demo.config, "--out", tmp_path / "b", "--quiet")
    assert called.code == 2
    assert "it is there and not empty" in called.out
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "mine"]


def test_a_payload_that_was_evicted_is_named(own_demo: Demo, tmp_path: Path) -> None:
    store = Store(own_demo.folder / "store")
    key, _ = next(iter(manifest(own_demo.folder, "forward").values()))
    folder = store.folder("forward", key)
    folder.rename(folder.with_name(f"{key}.evicted"))
    called = call("cache", "export", own_demo.config, "--out", tmp_path / "b", "--quiet")
    assert called.code == 5
    assert f"the payload of forward/{key} was evicted, and a bundle needs it" in called.out
    assert not (tmp_path / "b").exists()


def test_a_damaged_byte_of_the_store_gets_into_no_bundle(own_demo: Demo, tmp_path: Path) -> None:
    store = Store(own_demo.folder / "store")
    for stage, name in (("forward", "states.zarr/c/0/0/0"), ("decode", "thumbnails.parquet")):
        key, _ = sorted(manifest(own_demo.folder, stage).values())[0]
        path = store.folder(stage, key) / name
        good = path.read_bytes()
        # Of the shard the numbers of the chosen layer: its slot is its number here.
        at = len(good) * chosen(own_demo) // 7 + 50 if stage == "forward" else len(good) // 2
        flip(path, 8 * at)
        called = call("cache", "export", own_demo.config, "--out", tmp_path / "b", "--quiet")
        assert called.code == 5, called.out
        assert not list(tmp_path.glob("*b*"))
        path.write_bytes(good)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_file_operation_that_fails_leaves_a_whole_bundle_or_none(
    demo: Demo, tmp_path: Path, error: int
) -> None:
    world, store = world_of(demo.config, ())
    plans = plan_all(world)
    wanted = Wanted((chosen(demo),), ())

    def attempt(out: Path) -> None:
        export(world, plans, store, wanted, out)

    with failing(1 << 40, error) as count:
        attempt(tmp_path / "whole")
    total = count()
    assert total > 500
    rng, absent = random.Random(error), 0
    for at in [1, 2, *sorted(rng.sample(range(3, total - 6), 5)), total]:
        caught: Exception | None = None
        with failing(at, error):
            try:
                attempt(tmp_path / "b")
            except (OSError, HiprobeError) as raised:
                caught = raised
        assert [p.name for p in tmp_path.iterdir() if p.name not in ("whole", "b")] == []
        if (tmp_path / "b").exists():
            # What failed was after the rename, or making a folder that is there already.
            assert read_sums(tmp_path / "b") == read_sums(tmp_path / "whole")
            assert check_bytes(tmp_path / "b", read_sums(tmp_path / "b")) == []
            shutil.rmtree(tmp_path / "b")
        else:
            assert caught is not None
            absent += 1
    assert absent >= 6
    attempt(tmp_path / "again")
    sums = [(tmp_path / name / "SHA256SUMS").read_bytes() for name in ("whole", "again")]
    assert sums[0] == sums[1]


def test_a_disk_that_is_too_small_is_told_before(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shutil.disk_usage(tmp_path)._replace(free=77)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    called = call("cache", "export", demo.config, "--out", tmp_path / "c", "--quiet")
    assert called.code == 1
    assert "bytes or more, 77 are free" in called.out
    assert not list(tmp_path.iterdir())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_names_of_arrays_are_plain_and_never_two_the_same(ids: list[str]) -> None:
    names = [array_name(video) for video in [*ids, *(id * 70 for id in ids)]]
    assert len({*names}) == len({*ids, *(id * 70 for id in ids)})
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_.~%-]{1,200}", name)
        assert not name.startswith((".", "__"))
    assert array_name("Normal_Videos_015-x264") == "Normal_Videos_015-x264"


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_layers_are_taken_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Also NaN and every other pattern of bits, of any number of prompts, and over two shards."""
    folder = tmp_path_factory.mktemp("arrays")
    dtype = data.draw(st.sampled_from(["float32", "float16", "bfloat16"]))
    kept = sorted(data.draw(st.sets(st.integers(0, 9), min_size=1, max_size=4)))
    wanted = sorted(data.draw(st.sets(st.sampled_from(kept), min_size=1)))
    prompts, dim = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    segments = data.draw(st.sampled_from([1, 2, 17, 512, 513, 700]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    size = {"float32": 4, "float16": 2, "bfloat16": 2}[dtype]
    bits = rng.integers(0, 256, (segments, prompts, len(kept), dim * size), dtype=np.uint8)
    values = bits.view({"bfloat16": "<u2", "float16": "<f2", "float32": "<f4"}[dtype])
    step = shard_rows(segments)
    blocks = [values[start : start + step] for start in range(0, segments, step)]
    write_states(folder / "all", blocks, segments=segments, layers=kept, dim=dim,
                 logical_dtype=dtype, prompts=prompts)  # fmt: skip
    copy_layers(folder / "all", folder / "some", wanted, Origin("v", "d"))
    write_heads(folder / "h", blocks, segments=segments, heads=[(n, 1) for n in kept],
                head_dim=dim, logical_dtype=dtype, prompts=prompts)  # fmt: skip
    copy_heads(folder / "h", folder / "g", [(n, 1) for n in wanted], Origin("v", "d"))
    states, heads = States.open(folder / "some"), Heads.open(folder / "g")
    for name, prompt in [(n, p) for n in wanted for p in range(prompts)]:
        plain = values[:, prompt, kept.index(name)]
        with np.errstate(invalid="ignore", over="ignore"):
            wide = (
                (plain.astype(np.uint32) << 16).view(np.float32)
                if dtype == "bfloat16"
                else plain.astype(np.float32)
            )
        for found in (states.layer(name, prompt), heads.head(name, 1, prompt)):
            np.testing.assert_array_equal(found, wide)
        np.testing.assert_array_equal(_as_the_readme(folder / "some", name, prompt), wide)
        np.testing.assert_array_equal(_as_the_readme(folder / "g", [name, 1], prompt), wide)


def _as_the_readme(path: Path, kept: Any, prompt: int) -> Any:
    """What the function of the README gives for one array."""
    import zarr

    (function,) = re.findall(r"^def read.*?(?=^\S.*:$|\Z)", SNIPPET, re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {"np": np}
    exec(function.partition("\n\n\n")[0], namespace)
    return namespace["read"](zarr.open_array(path, mode="r"), kept, prompt)
