"""Where the data set of a configuration lies, and what is remembered of its files."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from cache.store import Store
from manifests.datasets.contract import Sources
from manifests.datasets.sources import DigestMemory
from pipeline.config import Config
from pipeline.world import World


def sources_of(config: Config) -> Sources:
    """The paths of section [data], made absolute; `root` is None where data.videos is empty.

    Commands that need the lists alone (`evaluate-scores`) work without videos. Nothing is opened.
    """
    settings = config.sections["data"]
    return Sources(
        root=config.path("data", "videos"),
        labels=config.path("data", "labels"),
        annotations=config.path("data", "annotations"),
        train_list=config.path("data", "train_list"),
        test_list=config.path("data", "test_list"),
        frame_counts=config.paths("data", "frame_counts"),
        unlisted=settings.unlisted,
        allow_missing=settings.allow_missing,
    )


def memory_of(data: Path, store: Store) -> Path:
    """Where the digests of the files of a data set are remembered."""
    # The folder's own inode names its memory, so that renaming it costs nothing and two data sets
    # in one store do not overwrite what the other knows.
    return store.root / "catalog" / f"sources-{data.stat().st_ino}.jsonl"


def forget_sources(world: World, store: Store, items: Collection[str]) -> None:
    """Digest the files of these videos anew the next time, though they may look the same."""
    memory = DigestMemory(memory_of(world.data, store))
    for video in world.videos or ():
        if video.video_id in items:
            memory.forget(video.path)
    with contextlib.suppress(OSError):  # nothing could be remembered there, either
        memory.save()
