"""A bundle that is damaged, forged or not whole: refused, and never another number."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.arrays import States
from cache.digest import read_json
from cache.errors import DamagedArtifact, StoreTooNew
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from pipeline.bundles.contents import array_name, open_bundle
from pipeline.bundles.part import part_of
from tests.cache.stores import flip
from tests.conftest import Called, Demo, call
from tests.pipeline.bundles import manifest

Hiprobe = Callable[..., Called]


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
