"""Where the data set of a configuration lies: what its reader is given."""

from __future__ import annotations

from manifests.datasets.contract import Sources
from pipeline.config import Config


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
