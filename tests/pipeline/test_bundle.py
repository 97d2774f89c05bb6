"""A bundle: what is in it, how it is read without hiprobe, and what a run from it gives."""

from __future__ import annotations

import contextlib
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
from cache.digest import read_json
from cache.errors import DamagedArtifact, HiprobeError, StoreTooNew
from cache.store import Store
from manifests.bundled import BUNDLED_SEGMENTS, BUNDLED_VIDEOS
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from pipeline.bundles.arrays import Origin, copy_heads, copy_layers
from pipeline.bundles.contents import array_name, check_bytes, open_bundle, read_sums
from pipeline.bundles.description import dataset_of
from pipeline.bundles.export import Wanted, export
from pipeline.bundles.part import part_of
from pipeline.bundles.readme import SNIPPET
from pipeline.bundles.tables import anomalous_frames
from pipeline.commands.options import world_of
from pipeline.plan import plan_all
from pipeline.world import Failure, Video
from tests.cache.stores import failing, flip, unwritable
from tests.conftest import Called, Demo, call

Hiprobe = Callable[..., Called]
RESULTS = (
    "scores.parquet", "metrics.json", "intervals.parquet", "selection.json", "report.html",
    "explanations.parquet",
)  # fmt: skip


def exported(demo: Demo, out: Path, *words: object) -> Path:
    called = call("cache", "export", demo.config, "--out", out, "--quiet", *words)
    assert called.code == 0, called.out
    return out


@pytest.fixture(scope="module")
def bundle(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the chosen layer of the small run; nobody may change it."""
    return exported(demo, tmp_path_factory.mktemp("bundle") / "layer")


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(bundle, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def colleague(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a colleague sits."""
    (tmp_path / "colleague").mkdir()
    monkeypatch.chdir(tmp_path / "colleague")
    return tmp_path / "colleague"


def states_of(demo: Demo) -> dict[str, States]:
    """Hidden states by video id, as the run that was exported has them."""
    rows = manifest(demo.folder, "forward")
    store = Store(demo.folder / "store")
    found = {}
    for video, (key, _) in rows.items():
        found[video] = States.open(store.folder("forward", key) / "states.zarr")
    return found


def manifest(results: Path, stage: str) -> dict[str, tuple[str, str]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(results / "manifests" / f"{stage}.parquet").to_pylist()
    return {row["video_id"]: (row["key"], row["digest"]) for row in rows}


def chosen(demo: Demo) -> int:
    layer: int = read_json(demo.folder / "scorer" / "scorer.json")["layer"]
    return layer


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


@pytest.mark.parametrize(
    ("field", "code", "text"),
    [
        ("select.method=last", 2, "the choice reads layer 6, the bundle own holds layer 2 alone"),
        ("sample.segment_frames=12", 2, "sample.segment_frames: the bundle 24, this run 12"),
        ("forward.test_layers=selected", 2, "forward.test_layers: the bundle 'all'"),
        ("backbone.identity=abc", 2, "backbone.identity is abc, the bundle own was made by"),
        ("statistics.bins=17", 0, "statistics reads all layers, the bundle holds layer 2 alone"),
        ("explain.seed=3", 0, "of explain: the bundle holds no model"),
    ],
)
def test_what_a_bundle_lacks_is_said(
    own: Path, colleague: Path, hiprobe: Hiprobe, field: str, code: int, text: str
) -> None:
    called = hiprobe(
        "run", "--from-bundle", own, "--quiet", "--until", "explain", "--set", field,
        "--set", "evaluate.bootstrap=0",
    )  # fmt: skip
    assert called.code == code
    assert text.replace("layer 2", f"layer {open_bundle(own).layers[0]}") in called.out


def test_other_settings_give_what_the_whole_run_gives(
    own_demo: Demo, own: Path, colleague: Path, hiprobe: Hiprobe
) -> None:
    """Also with a configuration of one's own, and the states of the store out of reach."""
    words = ("--quiet", "--set", "fit.c=0.25", "--set", "localize.kappa=0.5", "--until", "evaluate")
    assert hiprobe("run", own_demo.config, *words).code == 0
    mine = colleague / "mine.toml"
    text = (own / "run.toml").read_text().replace('identity = "', 'identity = ""  # "', 1)
    mine.write_text(text)
    assert hiprobe("run", mine, "--from-bundle", own, *words).code == 0
    results = colleague / "runs" / "demo"
    for name in ("scores.parquet", "metrics.json", "intervals.parquet"):
        assert (results / name).read_bytes() == (own_demo.folder / name).read_bytes(), name
    # What it wrote down goes on by itself, from the same bundle.
    again = hiprobe("plan", results / "config.toml", "--json", "--set", "fit.c=0.25")
    stages = {stage["stage"]: stage for stage in again.value()["stages"]}
    assert stages["fit"]["todo"] == stages["forward"]["todo"] == stages["forward"]["blocked"] == 0


def test_two_passes_give_what_the_whole_run_gives(
    own_demo: Demo, colleague: Path, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    two = ("--set", "forward.test_layers=selected")
    assert hiprobe("run", own_demo.config, "--quiet", "--until", "localize", *two).code == 0
    layer = chosen(own_demo)
    refused = hiprobe(
        "cache", "export", own_demo.config, "--out", tmp_path / "b", *two, "--layers",
        f"{layer},{layer + 1}",
    )  # fmt: skip
    assert f"--layers: forward_selected keeps layers {layer}, not {layer + 1}" in refused.out
    out = exported(own_demo, tmp_path / "b", *two)
    status = hiprobe("status", "--from-bundle", out, "--json").value()["stages"]
    (second,) = (s for s in status if s["stage"] == "forward_selected")
    assert (second["fresh"], second["stores"]) == (12, {str(out): 12})
    called = hiprobe("run", "--from-bundle", out, "--quiet", "--json", "--until", "localize")
    assert called.code == 0, called.out
    results = colleague / "runs" / "demo"
    for name in ("scores.parquet", "intervals.parquet"):
        assert (results / name).read_bytes() == (own_demo.folder / name).read_bytes(), name
    here, there = (
        plan_all(world_of(folder / "config.toml", two[1:])[0])
        for folder in (results, own_demo.folder)
    )
    for stage in ("index", "sample", "forward", "select", "forward_selected", "fit", "score"):
        assert here[stage].keys == there[stage].keys
        assert here[stage].digests == there[stage].digests
        assert len(here[stage].digests) in (1, 8, 12, 20)


def test_a_video_that_failed_is_missed_there_as_it_was_here(
    own_demo: Demo, colleague: Path, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    lost = own_demo.folder / "data/videos/test/fight_02.mp4"
    lost.write_bytes(lost.read_bytes()[:600])
    words = ("--quiet", "--until", "evaluate")
    assert hiprobe("run", own_demo.config, *words).code == 3
    out = tmp_path / "b"
    done = hiprobe("cache", "export", own_demo.config, "--out", out, "--quiet")
    assert "bundle of 19 videos" in done.out
    assert "1 videos that failed have none" in done.out
    assert "1 videos failed and have no array" in (out / "README.md").read_text()
    called = hiprobe("run", "--from-bundle", out, *words)
    assert called.code == 3
    assert "FAILED decode of test/fight_02" in called.out
    for name in ("scores.parquet", "metrics.json"):
        found = (colleague / "runs" / "demo" / name).read_bytes()
        assert found == (own_demo.folder / name).read_bytes(), name


def test_a_bundle_is_only_read(own: Path, colleague: Path, hiprobe: Hiprobe) -> None:
    words = ("--quiet", "--until", "localize")
    with unwritable(own, errno.EROFS):
        assert hiprobe("run", "--from-bundle", own, *words).code == 0
    with pytest.raises(OSError, match="Read-only"), unwritable(own, errno.EROFS):
        (own / "new").mkdir()


# Damage, and what comes from others.


def test_every_flipped_bit_is_found(own: Path) -> None:
    files = sorted(p for p in own.rglob("*") if p.is_file())
    rng = random.Random(7)
    tried = 0
    for _ in range(100):
        path = rng.choice(files)
        good = path.read_bytes()
        flip(path, rng.randrange(8 * len(good)))
        assert call("cache", "check-bundle", own).code in (2, 5), path
        path.write_bytes(good)
        tried += 1
    assert call("cache", "check-bundle", own).code == 0
    assert tried == 100


def test_a_flipped_bit_of_an_array_is_never_another_number(demo: Demo, own: Path) -> None:
    bundle = open_bundle(own)
    layer = bundle.layers[0]
    rng = random.Random(8)
    for video, (key, _) in sorted(manifest(demo.folder, "forward").items()):
        part = part_of(bundle, "forward", key, video)
        assert part is not None
        expected = States.open(part.file("states.zarr")).layer(layer).tobytes()
        for name in ("zarr.json", "c/0/0/0"):
            path = own / "states.zarr" / array_name(video) / name
            good = path.read_bytes()
            for _ in range(5):
                flip(path, rng.randrange(8 * len(good)))
                with contextlib.suppress(DamagedArtifact, StoreTooNew):
                    assert States.open(part.file("states.zarr")).layer(layer).tobytes() == expected
                path.write_bytes(good)


def test_files_in_one_another_s_place_are_refused(demo: Demo, own: Path) -> None:
    bundle = open_bundle(own)
    one, two = sorted(manifest(demo.folder, "forward").items())[:2]
    arrays = [own / "states.zarr" / array_name(video) for video, _ in (one, two)]
    arrays[0].rename(own / "aside")
    arrays[1].rename(arrays[0])
    (own / "aside").rename(arrays[1])
    for video, (key, _) in (one, two):
        part = part_of(bundle, "forward", key, video)
        assert part is not None
        with pytest.raises(DamagedArtifact, match="is not of"):
            part.file("states.zarr")
        path = part.record.path / "states.json"
        path.write_bytes(path.read_bytes().replace(b"abnormal", b"ABNORMAL"))
        with pytest.raises(DamagedArtifact, match=r"does not hold states\.json"):
            part.file("states.json")


def test_an_array_that_is_damaged_is_a_failure_and_no_score(
    own: Path, colleague: Path, hiprobe: Hiprobe
) -> None:
    path = own / "states.zarr" / array_name("test/fight_02") / "c/0/0/0"
    flip(path, 4000)
    called = hiprobe("run", "--from-bundle", own, "--quiet", "--until", "localize")
    assert called.code == 3
    assert "FAILED score of test/fight_02" in called.out
    scored = read_table(colleague / "runs/demo/scores.parquet", RUN_SCORES)
    assert "test/fight_02" not in scored["video_id"].to_pylist()


@pytest.mark.parametrize(
    ("harm", "code", "text"),
    [
        (lambda b: (b / "bundle.json").unlink(), 2, "is not a bundle: it has no bundle.json"),
        (lambda b: (b / "SHA256SUMS").unlink(), 5, "SHA256SUMS cannot be read"),
        (lambda b: (b / "run.toml").unlink(), 5, "run.toml is missing or no plain file"),
        (lambda b: (b / "segments.parquet").write_bytes(b""), 5, "it was written with"),
        (lambda b: shutil.rmtree(b / "artifacts" / "decode"), 5, "is missing or no plain file"),
        (lambda b: _outside(b / "states.zarr/test%2Ffight_02"), 5, "is missing or no plain file"),
        (lambda b: _outside(b / "dataset.json"), 5, "dataset.json is missing or no plain file"),
        (lambda b: _replace(b / "SHA256SUMS", "  run.toml", "  ../run.toml"), 5, "names no file"),
        (lambda b: _replace(b / "SHA256SUMS", "  run.toml", "  /etc/passwd"), 5, "names no file"),
        (lambda b: _replace(b / "bundle.json", '_bundle":1', '_bundle":2'), 2, "bundle format 2"),
        (lambda b: _replace(b / "bundle.json", '"layers":[', '"layerz":['), 5, "does not have"),
        (lambda b: _replace(b / "run.toml", "[fit]", "[fot]"), 5, "run.toml does not have"),
        (lambda b: (b / "bundle.json").write_text("[" * 99_999), 5, "cannot be read"),
    ],
)
def test_what_is_no_whole_bundle_is_refused(
    own: Path, colleague: Path, hiprobe: Hiprobe, harm: Callable[[Path], Any], code: int, text: str
) -> None:
    harm(own)
    called = hiprobe("plan", "--from-bundle", own)
    assert called.code == code, called.out
    assert text in called.out
    assert not list(colleague.iterdir())


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _outside(path: Path) -> None:
    """A file, or a folder, that is a link to the very same elsewhere."""
    elsewhere = next(p for p in path.parents if p.name == "own").parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def test_a_listing_with_a_path_that_leads_out_is_refused(own: Path, colleague: Path) -> None:
    """Whoever makes a bundle up can give every file its digest: what it says is looked at, too."""
    from cache.keys import canonical, hash_of

    dataset = read_json(own / "dataset.json")
    dataset["listing"][0][1] = "../../etc/passwd"
    _forge(own, "dataset.json", canonical(dataset) + "\n")
    said = {**read_json(own / "bundle.json"), "listing": hash_of(dataset["listing"])}
    said["bytes"] += (own / "dataset.json").stat().st_size - _SIZES.pop()
    _forge(own, "bundle.json", canonical(said) + "\n")
    called = call("plan", "--from-bundle", own)
    assert called.code == 2
    assert "is no path of a video" in called.out


_SIZES: list[int] = []


def _forge(own: Path, name: str, text: str) -> None:
    import hashlib

    _SIZES.append((own / name).stat().st_size)
    (own / name).write_text(text)
    lines = (own / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(text.encode()).hexdigest()
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    (own / "SHA256SUMS").write_text("\n".join(lines) + "\n")


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
