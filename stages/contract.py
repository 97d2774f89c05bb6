"""What a stage is: a settings class, a version, and one function from a Job to a Result.

A stage module `stages/<name>.py` has exactly three public names:

    VERSION: int            raised by hand when the numbers change
    Settings                a frozen dataclass of `recipe(...)` and `knob(...)` fields
    compute(job) -> Result  reads the job's inputs, writes its payload into job.out

It never imports another stage module, and imports heavy packages inside functions, because every
stage module is imported by `hiprobe plan`. What it reads reaches it by *role*; which stage fills a
role is written once, in pipeline/graph.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

S = TypeVar("S")


class Payload(Protocol):
    """A committed artifact as a stage sees it: files by name."""

    @property
    def digest(self) -> str:
        """Its content digest: the same content, the same digest."""
        ...

    def holds(self, name: str) -> bool:
        """Whether the artifact has this file or folder, whatever became of it on disk."""
        ...

    def file(self, name: str) -> Path:
        """The path of a file or folder of the payload; raises DamagedArtifact if it is not whole."""
        ...


def no_notice(path: Path) -> None:
    """Take the notice that a file is finished and forget it."""


def no_progress(done: float, total: float) -> None:
    """Take a progress report and forget it."""


@dataclass(frozen=True)
class Job(Generic[S]):
    """All that a stage gets for one item."""

    item: str
    """The video id, or the name of the data set."""
    settings: S
    out: Path
    """An empty folder; everything that is in it when `compute` returns becomes the artifact."""
    inputs: Mapping[str, Payload] = field(default_factory=dict)
    """Single artifacts, by role."""
    many: Mapping[str, Mapping[str, Payload]] = field(default_factory=dict)
    """One artifact per video, by role and then video id (sorted)."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Small JSON values that are part of the key, by role ("label", "truth", ...)."""
    source: Path | None = None
    """The video file, for stages that read pixels."""
    backbone: Any = None
    """A stages.backbones.reference.BackboneReference, for stages that run the model."""
    seal: str = ""
    """Another text as soon as the video file is written or replaced; empty without one."""
    partial: Path | None = None
    """A folder that outlives an interruption of this very item; it holds finished parts."""
    finished: Callable[[Path], None] = no_notice
    """Call with the path of a large payload file that is complete: it is digested and forced to the
    disk while others are made. It must not be touched any more."""
    progress: Callable[[float, float], None] = no_progress
    """Call with (done, total), in any unit, to be seen while an item takes long."""


@dataclass(frozen=True, slots=True)
class Result:
    """What `compute` says about what it wrote."""

    rows: int
    """Rows of the item's main table or array (frames, segments, intervals...)."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds per phase, such as read, forward, write."""
    auxiliary: frozenset[str] = frozenset()
    """Names of payload files that are for people only: kept and checked, but outside the content
    digest, so that they never make a later stage stale."""
    notes: tuple[str, ...] = ()
    """What a person should know about this item; shown in the summary of the run."""


class Stage(Protocol):
    """The shape of a stage module."""

    VERSION: int
    Settings: type[Any]

    @staticmethod
    def compute(job: Job[Any]) -> Result:
        """Compute one item."""
        ...
