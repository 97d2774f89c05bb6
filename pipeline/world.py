"""The world as the planner sees it: plain values, gathered elsewhere, never changed by planning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.catalog import StageCatalog
from pipeline.bundles.contents import Bundle
from pipeline.config import Config

DATASET = "dataset"
"""The item name of a stage that works on the data set as a whole."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video of the data set, as the index manifest has it."""

    video_id: str
    path: str
    bytes: int
    digest: str
    """sha256 of the file; empty where it could not be read."""
    split: str
    label: int | None
    class_name: str
    subset: str
    annotations: tuple[tuple[int, int], ...] = ()
    """Anomalous intervals [start_frame, end_frame)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed before, under the key that it had then."""

    item: str
    key: str
    error_class: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True)
class OutsideScorer:
    """A fitted scorer of another run, and what its features were."""

    path: Path
    digest: str
    features: Mapping[str, Any]
    choice: str = ""
    """Digest that the choice (of a layer, or of heads) has which it was fitted on."""
    fitted: Mapping[str, str] = field(default_factory=dict)
    """The videos that it was fitted on: video id by the sha256 of the file."""

    def digest_of(self, stage: str) -> str:
        """What enters a key in the place of the artifact of this stage."""
        return self.choice if stage == "select" else self.digest


@dataclass(frozen=True)
class World:
    """Everything that planning depends on."""

    config: Config
    versions: Mapping[str, int]
    """Version of each stage."""
    data: Path = Path()
    """The folder of the videos."""
    listing: Any = None
    """The JSON value that the index stage starts from; None while source digests are unknown."""
    to_digest: tuple[int, int] = (0, 0)
    """Source files whose digest is not known yet: how many, and their bytes."""
    warnings: tuple[str, ...] = ()
    """What the data set reader wants a person to know."""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of listed videos that are not there, sorted, by split."""
    listed_frames: Mapping[str, int] = field(default_factory=dict)
    """How many frames a list gives a video, by video id."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Message by video id, for source files that could not be read."""
    videos: tuple[Video, ...] | None = None
    """Rows of the index manifest; None until the index stage has run."""
    committed: Mapping[str, StageCatalog] = field(default_factory=dict)
    """What the store holds, by stage."""
    failures: Mapping[str, Mapping[str, Failure]] = field(default_factory=dict)
    """Failures of earlier runs, by stage and key."""
    backbone: str = ""
    """Identity of the backbone; empty where none is configured or it is not on this machine."""
    backbone_problem: str = ""
    """Why there is no identity."""
    backbone_here: bool = True
    """Whether the model is on this machine: without it, what it made before is still fresh."""
    scorer: OutsideScorer | None = None
    bundle: Bundle | None = None
    """What takes the place of videos and model."""
    chosen: frozenset[str] | None = None
    """Videos that --select and --limit leave; None for all."""
    retry_failed: bool = False
