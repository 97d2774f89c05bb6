"""A source file that is replaced while it is read: nothing is made of it under the old digest."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.errors import SourceChanged
from cache.store import Store
from manifests.schema import STAGE_MANIFEST, VIDEOS
from manifests.table import read_table
from pipeline.task import SourceVideo, execute
from stages import decode, forward, index
from stages.backbones.parts import Parts
from stages.contract import Job, Result
from tests.conftest import Called, Demo
from tests.faults.test_interruptions import digests
from tests.pipeline.test_task import task

Hiprobe = Callable[..., Called]


def other_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def same_size_and_time(path: Path) -> None:
    stat = path.stat()
    other_bytes(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def renamed_over(path: Path) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(path.read_bytes() + b"\0")
    draft.replace(path)


def deleted(path: Path) -> None:
    path.unlink()


HARMS = (other_bytes, same_size_and_time, truncated, renamed_over, deleted)


@pytest.mark.parametrize("stage", [decode, forward])
def test_nothing_is_committed_under_the_old_digest_and_the_next_run_takes_the_new_file(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    name = stage.__name__.rsplit(".", 1)[-1]
    store, videos = own_demo.folder / "store", own_demo.folder / "data" / "videos"
    before = digests(store)
    rows = read_table(own_demo.folder / "manifests" / f"{name}.parquet", STAGE_MANIFEST).to_pylist()
    chosen = dict(zip((row["video_id"] for row in rows), HARMS, strict=False))
    keys = {row["video_id"]: row["key"] for row in rows}
    whole = {item: (videos / f"{item}.mp4").read_bytes() for item in chosen}
    for item in chosen:
        shutil.rmtree(store / name / keys[item][:2] / keys[item])
    done: set[str] = set()
    lock = threading.Lock()
    real = stage.compute

    def compute(job: Job[Any]) -> Result:
        """The real stage; in the middle of it, the file is no longer what it was."""

        def progress(at: float, of: float) -> None:
            with lock:
                if job.item not in done:
                    done.add(job.item)
                    chosen[job.item](videos / f"{job.item}.mp4")
            job.progress(at, of)

        return (
            real(dataclasses.replace(job, progress=progress)) if job.item in chosen else real(job)
        )

    monkeypatch.setattr(stage, "compute", compute)
    called = hiprobe("run", own_demo.config, "--quiet", "--until", name)
    assert called.code == 3
    assert done == set(chosen)
    assert called.out.count("changed since it was indexed") >= len(chosen)
    for item in chosen:
        assert not (store / name / keys[item][:2] / keys[item]).exists()
        assert item in called.out
    assert digests(store).items() <= before.items()
    monkeypatch.undo()
    # What was restored is what it was, and is tried again without being asked.
    for item, harm in chosen.items():
        if harm in (deleted, truncated):
            (videos / f"{item}.mp4").write_bytes(whole[item])
    hiprobe("run", own_demo.config, "--quiet", "--until", name)
    assert (
        digests(store).items()
        >= {
            f"{name}/{keys[item]}": before[f"{name}/{keys[item]}"]
            for item, harm in chosen.items()
            if harm in (deleted, truncated)
        }.items()
    )
    for item, harm in chosen.items():
        if harm not in (deleted, truncated):
            assert not (store / name / keys[item][:2] / keys[item]).exists()
    table = read_table(own_demo.folder / "videos.parquet", VIDEOS).to_pylist()
    known = {row["video_id"]: row["digest"] for row in table}
    for item in chosen:
        found = hashlib.sha256((videos / f"{item}.mp4").read_bytes()).hexdigest()
        assert known[item] == found, item


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Store.open(tmp_path / "store")
    return tmp_path / "store"


def test_a_file_that_was_another_while_it_was_read_is_not_trusted_when_it_is_put_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = root.parent / "a.mp4"
    video.write_bytes(b"first")
    os.utime(video, (1e9, 1e9))  # long ago, as files are: its time has a coarse tick
    source = SourceVideo(video, hashlib.sha256(b"first").hexdigest())
    harm = [lambda: (video.write_bytes(b"other"), video.write_bytes(b"first"))]

    def compute(job: Job[Any]) -> Result:
        for act in harm:
            act()
        (job.out / "a").write_text("a")
        return Result(1)

    monkeypatch.setattr(index, "compute", compute)
    outcome = execute(task(root, source=source))
    assert (outcome.status, outcome.error_class) == ("failed", SourceChanged.__name__)
    assert "put back" in outcome.message
    harm[:] = [lambda: (video.chmod(0o600), os.link(video, root.parent / "b.mp4"))]
    assert execute(task(root, source=source)).status == "built", "no byte was written"


def test_every_change_of_a_file_is_seen_in_its_seal(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = root.parent / "a.mp4"
    video.write_bytes(b"first")
    source = SourceVideo(video, hashlib.sha256(b"first").hexdigest())
    seals = []

    def compute(job: Job[Any]) -> Result:
        seals.append(job.seal)
        (job.out / "a").write_text("a")
        return Result(1)

    monkeypatch.setattr(index, "compute", compute)
    video.write_bytes(b"other")
    outcome = execute(task(root, source=source))
    assert (outcome.status, outcome.error_class) == ("failed", SourceChanged.__name__)
    video.write_bytes(b"first")
    assert execute(task(root, source=source)).status == "built"
    assert len(set(seals)) == 2


def test_parts_of_the_file_as_it_was_are_not_used_for_the_file_as_it_is(tmp_path: Path) -> None:
    import numpy as np

    shapes = {"states": ((2, 3), "float32")}
    block = {"states": np.arange(6, dtype=np.float32).reshape(2, 3)}
    Parts(tmp_path / "parts", "0123").save(0, block)
    kept = Parts(tmp_path / "parts", "0123")
    found = kept.find(0, shapes)
    assert found is not None
    np.testing.assert_array_equal(kept.read(found, shapes)["states"], block["states"])
    assert Parts(tmp_path / "parts", "4567").find(0, shapes) is None
    assert kept.find(0, shapes) is not None
