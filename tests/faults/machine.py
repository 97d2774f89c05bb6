"""Everything that people do to a store, in any order, against a model that computes everything anew.

The model knows which videos there are, and the configuration. What a run must give follows from
these alone: the content digests that a fresh store gets by making everything once. It knows nothing
of keys, catalogs, records or what the store happens to hold.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cache.roots import read_roots
from cache.store import Store
from cache.verify import verify
from pipeline.asked import Options
from pipeline.config import load_config
from pipeline.plan import plan_all
from pipeline.progress import Progress
from pipeline.run import run
from pipeline.stores import open_store
from tests.conftest import call
from tests.faults.nursery import Child
from tests.faults.operations import Operations, harmed
from tests.small_world import Clip, write_video

STAGES = ("index", "decode", "sample")
"""Real stages on real videos that take milliseconds."""
NAMES = ("train/a", "train/b", "test/c")
CLIPS = 3
SETTINGS = (6, 10)
"""sample.segment_frames."""
Digests = dict[str, dict[str, str]]
"""Content digest by item by stage."""
State = tuple[tuple[tuple[str, int], ...], int]
"""Which video has which clip, and the setting."""


def write_clips(folder: Path) -> list[Path]:
    """A few videos that differ in length and content."""
    paths = []
    for number in range(CLIPS):
        path = folder / f"{number}.mp4"
        write_video(path, Clip(f"train/{number}.mp4", 10, 2 + number), [7, number])
        paths.append(path)
    return paths


class Place:
    """One machine's data, configuration and store."""

    def __init__(self, folder: Path, clips: list[Path]) -> None:
        self.folder, self._clips = folder, clips
        self.config = folder / "run.toml"
        self.store = folder / "store"

    def arrange(self, videos: dict[str, int], setting: int) -> None:
        """Bring the folder of the videos and the configuration to this state."""
        root = self.folder / "videos"
        for name in NAMES:
            path = root / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if name in videos:
                shutil.copyfile(self._clips[videos[name]], path)
        self.config.write_text(
            '[run]\nname = "machine"\nstore = "store"\n[data]\nvideos = "videos"\n'
            f"[sample]\nsegment_frames = {setting}\nkeyframes = 2\n"
        )

    def run(self) -> Digests:
        """Run until stage sample; raises AssertionError where an item failed."""
        summary = run(load_config(self.config), Options(until=STAGES[-1]), Progress(quiet=True))
        assert not summary.failures, summary.failures
        return {stage: dict(summary.plans[stage].digests) for stage in STAGES}

    def planned(self) -> int:
        """Items that a run would make."""
        from pipeline.gather import Choices, gather

        settings = load_config(self.config)
        world = gather(settings, open_store(settings), Choices())
        plans = plan_all(world)
        return sum(plans[stage].work for stage in STAGES)


class Machine(RuleBasedStateMachine):
    """Two machines, a folder between them, and whatever comes to people's minds."""

    scratch: Path
    """Set by whoever runs it: a folder for this example and all others."""
    clips: list[Path]
    known: dict[State, Digests]
    """What the model computed before, by state."""
    count = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.folder = self.scratch / f"example-{self.count}"
        self.here, self.there = (Place(self.folder / n, self.clips) for n in ("here", "there"))
        self.remote = self.folder / "remote"
        self.videos: dict[str, int] = {}
        self.setting = SETTINGS[0]
        self.runs = 0

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(first=st.integers(0, CLIPS - 1))
    def begin(self, first: int) -> None:
        """One video, and a first run."""
        self.videos = {NAMES[0]: first}
        self.finish()

    @rule(name=st.sampled_from(NAMES), clip=st.integers(0, CLIPS - 1))
    def add_or_change(self, name: str, clip: int) -> None:
        """A video comes, or another takes its place."""
        self.videos[name] = clip
        self.here.arrange(self.videos, self.setting)

    @precondition(lambda self: len(self.videos) > 1)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        """A video goes."""
        del self.videos[data.draw(st.sampled_from(sorted(self.videos)))]
        self.here.arrange(self.videos, self.setting)

    @rule(setting=st.sampled_from(SETTINGS))
    def configure(self, setting: int) -> None:
        """Another configuration."""
        self.setting = setting
        self.here.arrange(self.videos, self.setting)

    @rule()
    def finish(self) -> None:
        """A run gives what the model gives, and leaves nothing to do."""
        self.here.arrange(self.videos, self.setting)
        self.runs += 1
        assert self.here.run() == self.expected()
        assert self.here.planned() == 0

    @rule(at=st.integers(1, 250))
    def kill(self, at: int) -> None:
        """A run that is killed at one of its file operations."""
        self.here.arrange(self.videos, self.setting)

        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def work(report: Callable[..., None]) -> None:
            operations = Operations(self.here.store, die, at=at)
            operations.arm()
            with harmed(operations):
                self.here.run()

        child = Child(work)
        assert child.wait() in (0, -signal.SIGKILL), child.reports()

    @rule(stage=st.sampled_from(STAGES))
    def evict(self, stage: str) -> None:
        """Payloads are given up: where nothing was to be made, nothing is."""
        done_with = self.here.planned() == 0
        done = call("cache", "evict", self.here.store, "--stage", stage, "--yes")
        assert done.code == 0, done.out
        assert not done_with or self.here.planned() == 0

    @rule()
    def collect(self) -> None:
        """Garbage of any age is removed: what the last run reached stays."""
        done_with = self.here.planned() == 0
        roots = read_roots(self.here.store)
        present = {
            (stage, key)
            for root in roots
            for stage, keys in root.reach.items()
            for key in keys.values()
            if Store(self.here.store).record(stage, key)
        }
        done = call("cache", "gc", self.here.store, "--delete", "--older-than", "0s")
        assert done.code == 0, done.out
        assert all(Store(self.here.store).record(*name) for name in present)
        assert not done_with or self.here.planned() == 0

    @rule()
    def push(self) -> None:
        """All goes to a folder that another machine reads."""
        done = call("cache", "push", self.here.store, self.remote)
        assert done.code == 0, done.out

    @precondition(lambda self: (self.remote / "format.json").exists())
    @rule()
    def pull(self) -> None:
        """Another machine with the same videos takes it all, and comes to the same."""
        self.there.arrange(self.videos, self.setting)
        open_store(load_config(self.there.config))
        done = call("cache", "pull", self.there.store, self.remote)
        assert done.code == 0, done.out
        assert self.there.run() == self.expected()
        assert list(verify(Store(self.there.store), full=True)) == []

    @invariant()
    def is_whole(self) -> None:
        """Whatever was done: what can be seen is what its record says, and nothing is set aside."""
        for root in (self.here.store, self.there.store, self.remote):
            if (root / "format.json").exists():
                assert list(verify(Store(root), full=True)) == []
                assert not list((root / "quarantine").iterdir())

    def expected(self) -> Digests:
        """What a store that begins empty comes to."""
        state: State = (tuple(sorted(self.videos.items())), self.setting)
        if state not in self.known:
            place = Place(self.scratch / "model", self.clips)
            shutil.rmtree(place.folder, ignore_errors=True)
            place.arrange(self.videos, self.setting)
            self.known[state] = place.run()
        return self.known[state]
