"""Runs whose disk fills up: a real one, of a few pages, wherever it may be mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cache.digest import read_json
from cache.store import Store
from cache.verify import verify
from tests.faults.killed import expected_of, look, results_of
from tests.faults.kinds import Tally
from tests.faults.nursery import Child, Report, copy_inputs, tiny_run
from tests.faults.operations import Operations, harmed
from tests.faults.tiny_run import SCENARIOS, SHARD_ROWS

PASSES = 10
PAGE = 4096
SAID = re.compile(
    r"no space left .*needs at least [\d,]+ bytes.* and there are [\d,]+ bytes that are free"
)
"""What is said of a full disk: bytes needed, and bytes that are free."""
REFUSED = re.compile(r"not enough space, nothing was begun: the work needs at least .* are free")


class Disk:
    """A small disk that can be made smaller or larger; where mounting is not allowed, a shim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.is_real = self._mount("-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs")
        self.left: int | None = None
        """For the shim: operations that succeed, None for all."""

    def _mount(self, *words: str) -> bool:
        try:
            done = subprocess.run(["mount", *words, self.path], capture_output=True, check=False)
        except FileNotFoundError:
            return False
        return done.returncode == 0

    @property
    def used(self) -> int:
        """Pages that are in use."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // PAGE

    def leave(self, pages: int | None) -> None:
        """Leave room for so many pages, or as good as without end."""
        if not self.is_real:
            self.left = None if pages is None else 1 + pages
            return
        # A size of 0 would be one without end.
        size = 1 << 30 if pages is None else max(1, self.used + pages) * PAGE
        assert self._mount("-o", f"remount,size={size}", "tmpfs")

    def close(self) -> None:
        """Give it up."""
        if self.is_real:
            subprocess.run(["umount", self.path], check=True)

    @contextlib.contextmanager
    def shim(self) -> Iterator[None]:
        """In the child: every operation after the first so many finds no space."""
        if self.left is None:
            yield
            return

        def refuse() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        operations = Operations(self.path, refuse, at=self.left, forever=True)
        operations.arm()
        with harmed(operations, ("mkdir",)):
            yield


@contextlib.contextmanager
def disk(path: Path) -> Iterator[Disk]:
    """A disk for the time of a block."""
    made = Disk(path)
    try:
        yield made
    finally:
        made.close()


def call(folder: Path, where: Disk, *words: str) -> tuple[int, str]:
    """Exit code and text of a call of the command line, in a process of its own."""
    said = folder / "said.txt"

    def live(report: Report) -> None:
        from cache import shards
        from pipeline.cli import main

        shards.SHARD_ROWS = SHARD_ROWS
        target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        with where.shim(), contextlib.suppress(SystemExit):
            try:
                main([words[0], str(folder / "run.toml"), *words[1:]])
            except SystemExit as end:
                report("code", end.code)
                raise

    child = Child(live)
    child.wait()
    reports = child.reports()
    assert [told[0] for told in reports] == ["code"], (reports, said.read_text())
    return reports[0][1], said.read_text()


def fill_disks(rng: random.Random, folder: Path) -> Tally:
    """Ten runs that find the disk full: of the store, of the results, or of both."""
    tally = Tally()
    scratch = folder.parent
    expected, results = expected_of(scratch)
    made: dict[str, list[str]] = read_json(tiny_run(scratch) / "made.json")
    steps = [(scenario, stage) for scenario in SCENARIOS for stage in made[scenario]]
    for number, (scenario, stage) in enumerate(rng.sample(steps, PASSES)):
        place = folder / f"pass-{number}"
        copy_inputs(scratch, place)
        with disk(place / "disk") as where:
            full = rng.choice(("store", "store", "runs", "both"))
            words = _laid_out(scratch, place, scenario, made[scenario], stage, full)
            before = look(place / words["store"])
            later = made[scenario][made[scenario].index(stage) :]
            _fill(rng, place, where, scenario, words, later, tally)
            after = look(place / words["store"])
            assert before.artifacts.items() <= after.artifacts.items()
            assert after.digests.items() <= expected.items()
            assert list(verify(Store(place / words["store"]), full=True)) == []
            where.leave(None)
            code, said = call(place, where, "run", "--quiet", *_options(scenario, words))
            assert code == 0, said
            for name, digest in results[scenario].items():
                assert results_of(place / words["runs"] / scenario)[name] == digest, name
            tally.figures[f"of the {full}" if full != "both" else "of both"] += 1
            tally.figures["real disks" if where.is_real else "shims"] += 1
        tally.tried += 1
        tally.survived += 1
        shutil.rmtree(place)
    return tally


def _laid_out(
    scratch: Path, place: Path, scenario: str, stages: list[str], first: str, full: str
) -> dict[str, str]:
    """Copy a store in which nothing is made from a stage on; where store and results lie."""
    words = {
        "store": "disk/store" if full != "runs" else "store",
        "runs": "disk/runs" if full != "store" else "runs",
    }
    shutil.copytree(tiny_run(scratch) / "store", place / words["store"])
    for stage in stages[stages.index(first) :]:
        shutil.rmtree(place / words["store"] / stage)
    (place / words["runs"]).mkdir(exist_ok=True)
    return words


def _options(scenario: str, words: dict[str, str]) -> list[str]:
    settings = [*SCENARIOS[scenario], f'run.name="{scenario}"']
    settings += [f'run.{name}="{path}"' for name, path in words.items()]
    return [word for setting in settings for word in ("--set", setting)]


def _fill(
    rng: random.Random,
    place: Path,
    where: Disk,
    scenario: str,
    words: dict[str, str],
    later: list[str],
    tally: Tally,
) -> None:
    """Leave less and less room until a run finds the disk full; check what it says."""
    pages = rng.choice((0, rng.randint(0, 8), rng.randint(0, 100)))
    # Most runs go past the look that refuses to begin what cannot end.
    forced = ["--even-if-short"] * (rng.random() < 0.8)
    while True:
        where.leave(pages)
        code, said = call(place, where, "run", "--quiet", *forced, *_options(scenario, words))
        if code:
            break
        assert pages, "nothing needed room"
        pages //= 2
        # There was room enough: what it took is taken away again.
        for made in (words["runs"], *(f"{words['store']}/{stage}" for stage in later)):
            shutil.rmtree(place / made, ignore_errors=True)
    assert code == 1, (code, said)
    refused = REFUSED.search(said) if not forced else None
    assert refused or SAID.search(said.replace("\n", " ")), said
    assert "Traceback" not in said, said
    by = "an item" if "left for the store" in said else "the run"
    tally.figures["refused before it began" if refused else f"told by {by}"] += 1
    # Looking needs no room.
    code, said = call(place, where, "status", *_options(scenario, words))
    assert code == 0, said


def fill_workers(rng: random.Random, folder: Path) -> Tally:
    """One run whose worker process, of a local Dask cluster, finds the disk of the store full."""
    copy_inputs(folder.parent, folder)
    words = ["--until", "sample", "--set", 'run.store="disk/store"', "--set", 'run.runs="runs"']
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        folder / "run.toml",
        "--quiet",
        "--even-if-short",
        *words,
    ]
    with disk(folder / "disk") as where:
        if not where.is_real:  # no shim reaches a process that is not forked here
            return Tally(figures=Counter({"not allowed to mount": 1}))
        where.leave(rng.randint(8, 40))
        full = [*command, "--workers", "1"]
        done = subprocess.run(full, capture_output=True, text=True, check=False)
        assert (done.returncode, bool(SAID.search(done.stderr))) == (1, True), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert list(verify(Store(folder / "disk" / "store"), full=True)) == []
        where.leave(None)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        expected, _ = expected_of(folder.parent)
        assert look(folder / "disk" / "store").digests.items() <= expected.items()
    return Tally(1, 1)
