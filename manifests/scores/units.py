"""What one score of a plain list is of: a frame or a clip, told by how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cache.errors import ConfigError
from manifests.scores.contract import Floats, Ints, ScoreFile, Unit, VideoScores

_MOST = 256
"""The longest clip, in frames, that an error proposes."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """How the scores of a file are laid on frames."""

    unit: Literal["auto", "frame", "clip"] = "auto"
    """What one score of a plain list is of; auto tells it by the lengths."""
    clip: int = 16
    """Frames of a clip; the last one of a video may be shorter."""
    short: int = 0
    """So many frames at the end of a video may have no score."""

    def covered(self, count: int, unit: Unit, frames: int) -> int:
        """How many frames of a video of `frames` so many scores are of."""
        return min(count * self._length(unit), frames)

    def fits(self, count: int, unit: Unit, length: Length) -> bool:
        """Whether so many scores are those of a video of this length."""
        most = -(-length.frames // self._length(unit))
        covered = self.covered(count, unit, length.frames)
        lacking = (length.frames - covered, length.evaluated - covered)
        return count == most or (
            count < most and any(0 <= missing <= self.short for missing in lacking)
        )

    def _length(self, unit: Unit) -> int:
        return self.clip if unit == "clip" else 1


@dataclass(frozen=True, slots=True)
class Length:
    """How long a video is, in frames."""

    frames: int
    evaluated: int
    """The first so many are evaluated."""


def decide_unit(
    videos: Mapping[str, VideoScores], lengths: Mapping[str, Length], fitting: Fitting
) -> Unit:
    """The one unit that fits every plain list among these scores; both mappings by one name.

    Raises ConfigError that names the video, what it has and what would fit, where none does, and
    where both do.
    """
    plain = {name: scores for name, scores in videos.items() if scores.start is None}
    allowed: tuple[Unit, ...] = ("frame", "clip") if fitting.unit == "auto" else (fitting.unit,)
    misfits = {unit: _misfits(plain, lengths, fitting, unit) for unit in allowed}
    found = [unit for unit in allowed if not misfits[unit]]
    if not plain or len(found) == 1:
        return found[0]
    name = next(iter(plain))
    if found:
        raise ConfigError(
            f"{name}: its {len(plain[name].score)} scores fit its {lengths[name].frames} frames both "
            "as one per frame and as one per clip, as do those of every other video; say which with "
            "--unit"
        )
    nowhere = [n for n in plain if all(n in misfits[unit] for unit in allowed)]
    if nowhere:
        raise _fits_nowhere(nowhere[0], len(nowhere), allowed, plain, lengths, fitting)
    frame, clip = (_shown(misfits[unit][0], plain, lengths) for unit in ("clip", "frame"))
    raise ConfigError(
        f"{frame}: that is one per frame; {clip}: that is one per clip of {fitting.clip}; all "
        "videos of a file must have the same unit"
    )


def _misfits(
    plain: Mapping[str, VideoScores], lengths: Mapping[str, Length], fitting: Fitting, unit: Unit
) -> list[str]:
    return [
        name
        for name, scores in plain.items()
        if scores.unit not in (None, unit)
        or not fitting.fits(len(scores.score), unit, lengths[name])
    ]


def _shown(name: str, plain: Mapping[str, VideoScores], lengths: Mapping[str, Length]) -> str:
    return f"{name} has {len(plain[name].score)} scores and {lengths[name].frames} frames"


def _fits_nowhere(
    name: str,
    count: int,
    allowed: Sequence[Unit],
    plain: Mapping[str, VideoScores],
    lengths: Mapping[str, Length],
    fitting: Fitting,
) -> ConfigError:
    """What would fit the video, and which option would make it fit as it is."""
    found, frames = len(plain[name].score), lengths[name].frames
    clips, whole = -(-frames // fitting.clip), frames // fitting.clip
    would = {"frame": f"{frames} (one per frame)"}
    would["clip"] = f"{clips} (one per clip of {fitting.clip})"
    text = f"{_shown(name, plain, lengths)}: {' or '.join(would[u] for u in allowed)} would fit"
    if lengths[name].evaluated == frames and found in (whole, frames // 16 * 16):
        text += f"; --labels floor16 evaluates the first {frames // 16 * 16} frames only"
    lacking = [frames - n for n in (found, found * fitting.clip) if 0 < frames - n < fitting.clip]
    if lacking:
        text += f"; --allow-short {lacking[0]} leaves out its last {lacking[0]} frames"
    sizes = _common_clips(plain, lengths)
    if sizes:
        text += f"; --unit clip --clip {sizes[0]} fits all videos"
    rest = f" ({count - 1} more videos do not fit either)" if count > 1 else ""
    return ConfigError(text + rest)


def _common_clips(plain: Mapping[str, VideoScores], lengths: Mapping[str, Length]) -> list[int]:
    """Lengths of a clip that would fit every video."""
    count = np.asarray([len(scores.score) for scores in plain.values()])
    frames = np.asarray([lengths[name].frames for name in plain])
    sizes = range(2, _MOST + 1)
    return [size for size in sizes if np.array_equal(-(-frames // size), count)]


def split_joined(
    file: ScoreFile, lengths: Mapping[str, Length], fitting: Fitting
) -> dict[str, VideoScores]:
    """One array for all videos, cut into theirs; `lengths` is in the order of the array.

    Raises ConfigError that shows every total that would fit, where it has another one.
    """
    assert file.joined is not None
    total = len(file.joined)
    ways = _ways(np.asarray([length.frames for length in lengths.values()]), fitting)
    fitted = [way for way in ways if way.counts.sum() == total]
    if not fitted:
        totals = ", ".join(f"{way.counts.sum()} ({way.text})" for way in ways)
        raise ConfigError(
            f"{file.path} holds {total} scores; for the {len(lengths)} test videos one after the "
            f"other in the order of the data set's list, {totals} would fit; where clips have "
            f"another length than {fitting.clip} frames, give --clip"
        )
    if any(not np.array_equal(way.counts, fitted[0].counts) for way in fitted[1:]):
        raise ConfigError(
            f"{file.path}: {total} scores can be {' and '.join(way.text for way in fitted)}; say "
            "which with --unit, or give an array for each video"
        )
    parts: list[Floats] = np.split(file.joined, np.cumsum(fitted[0].counts)[:-1])
    return {
        name: VideoScores(name, part, unit=fitted[0].unit)
        for name, part in zip(lengths, parts, strict=True)
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """A way in which the scores of all videos are put one after the other."""

    unit: Unit
    text: str
    counts: Ints
    """Scores of each video, [videos]."""


def _ways(frames: Ints, fitting: Fitting) -> list[_Way]:
    """The ways that are in use, for videos of these lengths [videos]."""
    clip, whole = fitting.clip, "one per frame of the first 16*floor"
    ways = [
        _Way("frame", "one per frame", frames),
        _Way("frame", f"{whole}(n/16)", frames // 16 * 16),
        _Way("frame", f"{whole}((n-1)/16)", (frames - 1) // 16 * 16),
        _Way("clip", "one per clip", -(-frames // clip)),
        _Way("clip", "one per whole clip", frames // clip),
    ]
    return [way for way in ways if fitting.unit in ("auto", way.unit)]
