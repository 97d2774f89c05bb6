"""What a file of scores gives: the scores of every video that it names, and what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cache.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Unit = Literal["frame", "clip"]
"""What one score of a plain list is of."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoScores:
    """The scores of one video as a file gives them; arrays are [rows].

    Raises ConfigError, with the video's name, for a score that is no finite number.
    """

    video: str
    """The name as the file spells it."""
    score: Floats
    start: Ints | None = None
    """First frame of every score, sorted; None for a plain list, one score after the other."""
    end: Ints | None = None
    """One past its last frame; None where a score holds until the next one starts."""
    unit: Unit | None = None
    """What one score of a plain list is of, where the file says so."""
    unsmoothed: Floats | None = None
    """The scores before they were smoothed, where the file has both."""

    def __post_init__(self) -> None:
        """Refuse what is no score."""
        if len(self.score) == 0:
            raise ConfigError(f"{self.video}: no score is given")
        for values in (self.score, self.unsmoothed):
            if values is not None and not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ConfigError(
                    f"{self.video}: score {row} of {len(values)}, counted from 0, is "
                    f"{values[row]}; every score must be a finite number"
                )


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFile:
    """All that a file, or a folder of files, of scores holds."""

    path: Path
    form: str
    """What it was read as, for people."""
    videos: Mapping[str, VideoScores]
    """By the name as given; empty where `joined` is there."""
    joined: Floats | None = None
    """The scores of all test videos one after the other, in the order of the data set's list."""


def floats_of(values: Any, what: str) -> Floats:
    """Numbers as float64; raises ConfigError, beginning with `what`, for anything else."""
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ConfigError(f"{what}: expected plain numbers: {error}") from error
    if found.dtype.kind not in "biuf":
        given = values if isinstance(values, list) else found.ravel().tolist()
        shown = next((v for v in given if not isinstance(v, (int, float))), given)
        raise ConfigError(f"{what}: expected plain numbers, found {str(shown)[:60]!r}")
    return found.astype(np.float64)


def whole(values: Any, what: str) -> Ints:
    """Frame or clip numbers as int64; raises ConfigError, beginning with `what`, for others."""
    found = floats_of(values, what)
    wrong = ~(np.isfinite(found) & (found == np.floor(found)) & (found >= 0))
    if wrong.any():
        raise ConfigError(
            f"{what}: expected whole numbers from 0 on, found {found[wrong][0]}; frames are "
            "counted from 0, and seconds are not read"
        )
    return found.astype(np.int64)
