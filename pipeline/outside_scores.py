"""Scores that any system made, evaluated as our own are: same truth, same figures, same baselines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import sums
from cache.atomic import replace_json
from cache.errors import ConfigError
from manifests.datasets.contract import Entry, reader_of
from manifests.schema import REPLICATES, VIDEOS
from manifests.scores.contract import ScoreFile, VideoScores
from manifests.scores.files import digest_of, read_scores
from manifests.scores.fitting import Stretches, lay, longest_step
from manifests.scores.names import NameIndex, match_names
from manifests.scores.units import Fitting, Length, decide_unit, split_joined
from manifests.table import read_table, write_table
from pipeline.config import Config
from pipeline.metrics import metrics_text
from pipeline.sources import sources_of
from stages import evaluate

if TYPE_CHECKING:
    from stages.probes.evaluation import Evaluation
    from stages.probes.frames import EvaluatedVideo, Truth, View

_NAMED = 10
"""How many videos an error names before it only counts."""

AS_GIVEN = "scores are taken as they are: nothing was smoothed here"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the options of the command say; None takes the configuration's."""

    fitting: Fitting = field(default_factory=Fitting)
    column: str = ""
    labels: str | None = None
    """The view in which annotations are read."""
    threshold: float | None = None
    """What a score must exceed to be an alarm; without it nothing is detected."""
    bootstrap: int | None = None
    seed: int | None = None
    allow_missing: bool = False
    """Whether test videos may have no scores."""

    def __post_init__(self) -> None:
        """Refuse a threshold that nothing can exceed or that is no number."""
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"--threshold {self.threshold}: must be a finite number")


@dataclass(frozen=True, slots=True)
class ListedTest:
    """A test video of the data set with its annotations, whether its file is there or not."""

    video_id: str
    """As in the results of the run, where there are any; else the name in the lists."""
    entry: Entry
    decoded: int | None
    """Frames that decoding counted."""
    seconds: float | None

    @property
    def frames(self) -> int | None:
        """Frames of the video: what decoding counted goes before what a list says."""
        return self.entry.frames if self.decoded is None else self.decoded


def evaluate_scores(config: Config, path: Path, choices: Choices) -> Evaluation:
    """Evaluate a file, or folder, of scores on the test videos of a configuration.

    No video is opened: annotations and frame counts come from the lists, and frame counts from the
    run's own results where it has decoded the videos. The metrics are those of stage evaluate, with
    "scores" in addition: what was read, and how it was laid on the frames. Raises ConfigError that
    names the video for scores that do not fit.
    """
    entries = reader_of(config.sections["data"].kind).catalogue(sources_of(config))
    videos = listed_tests(entries, config.results / "videos.parquet")
    return evaluate_entries(entries, videos, path, config.sections["evaluate"], choices)


def evaluate_entries(
    entries: Sequence[Entry],
    videos: Sequence[ListedTest],
    path: Path,
    settings: evaluate.Settings,
    choices: Choices,
) -> Evaluation:
    """The same, given all videos that the lists name, and the test videos among them."""
    from stages.probes.evaluation import evaluation_of

    view: Any = choices.labels or settings.labels
    file = read_scores(path, choices.column)
    given = _scores_of(file, entries, videos, view, choices.fitting)
    missing = _missing(videos, given.scores, path, choices.allow_missing)
    chosen = {video.entry.name: video for video in videos if video.entry.name in given.scores}
    lengths = _lengths(list(chosen.values()), view)
    laid = _lay_all(given.scores, lengths, choices.fitting)
    found = evaluation_of(
        [_evaluated(chosen[n], laid.stretches[n], view, choices.threshold) for n in chosen],
        bootstrap=settings.bootstrap if choices.bootstrap is None else choices.bootstrap,
        seed=settings.seed if choices.seed is None else choices.seed,
        tiou=settings.tiou,
    )
    if all(stretches.unsmoothed is None for stretches in laid.stretches.values()):
        _leave_out_unsmoothed(found.metrics)
    found.metrics.update(
        labels=view,
        missing={"count": len(missing), "videos": missing},
        absent={split: {"count": 0, "videos": []} for split in ("test", "train")},
        threshold={"threshold": choices.threshold, "rule": "given"},
        scores={
            **_read_as(file, given, choices),
            "unit": laid.unit,
            "short": _short(chosen, laid.stretches, lengths),
            "cut": [chosen[n].video_id for n, s in laid.stretches.items() if s.cut],
        },
    )
    return found


def _read_as(file: ScoreFile, given: _Given, choices: Choices) -> dict[str, Any]:
    """What metrics.json says of the file itself."""
    return {
        "file": file.path.name,
        "sha256": digest_of(file.path),
        "form": file.form,
        "clip": choices.fitting.clip,
        "column": choices.column,
        "tag": given.tag,
        "not_test": {"count": len(given.others), "videos": given.others},
    }


def listed_tests(entries: Sequence[Entry], manifest: Path) -> list[ListedTest]:
    """The labelled test videos that the lists name, with what a run's videos.parquet says of them.

    Raises ConfigError where the lists name none.
    """
    tests = [e for e in entries if e.known.split == "test" and e.known.label is not None]
    if not tests:
        raise ConfigError(
            f"the lists of the data set name {len(entries)} videos, and none of them is a test "
            "video with a label: there is nothing to compare scores with"
        )
    if not manifest.exists():
        return [_test_video(entry, entry.name, None, None) for entry in tests]
    names = ("video_id", "n_frames", "duration")
    columns = read_table(sums.require(manifest), VIDEOS, columns=names).to_pydict()
    rows = dict(zip(columns["video_id"], zip(*columns.values(), strict=True), strict=True))
    index = NameIndex(list(rows))
    found = ((entry, index.find(entry.name)) for entry in tests)
    return [
        _test_video(entry, *(rows[ids[0]] if len(ids) == 1 else (entry.name, None, None)))
        for entry, ids in found
    ]


def _test_video(
    entry: Entry, video_id: str, decoded: int | None, duration: float | None
) -> ListedTest:
    if duration is None and entry.fps and entry.frames is not None:
        duration = entry.frames / entry.fps
    return ListedTest(video_id, entry, decoded, duration)


@dataclass(frozen=True, slots=True)
class _Given:
    """The scores of a file, by what the lists call their videos."""

    scores: Mapping[str, VideoScores]
    """Of test videos only, by the lists' name."""
    others: Sequence[str] = ()
    """Videos that are no test videos, as the file names them."""
    tag: str = ""
    """What stands behind every name of the file."""


def _scores_of(
    file: ScoreFile,
    entries: Sequence[Entry],
    videos: Sequence[ListedTest],
    view: View,
    fitting: Fitting,
) -> _Given:
    if file.joined is not None:
        return _Given(split_joined(file, _lengths(videos, view), fitting))
    matching = match_names(file.videos, [entry.name for entry in entries], file.path)
    tests = {video.entry.name for video in videos}
    scores, others = {}, []
    for given, name in matching.known.items():
        if name in tests:
            scores[name] = file.videos[given]
        else:
            others.append(given)
    if not scores:
        raise ConfigError(f"{file.path}: none of its {len(others)} videos is a test video")
    return _Given(scores, sorted(others), matching.tag)


def _missing(
    videos: Sequence[ListedTest], scores: Mapping[str, VideoScores], path: Path, allowed: bool
) -> list[str]:
    """The ids of test videos without scores; raises ConfigError where there may be none."""
    missing = sorted(video.video_id for video in videos if video.entry.name not in scores)
    if missing and not allowed:
        raise ConfigError(
            f"{path}: {len(missing)} of {len(videos)} test videos have no scores: {_some(missing)}; "
            "with --allow-missing the others are evaluated, and the figures say so"
        )
    return missing


def _lengths(videos: Sequence[ListedTest], view: View) -> dict[str, Length]:
    """How long each video is, by the lists' name; raises ConfigError where one's is not known."""
    from stages.probes.frames import evaluated_frames

    unknown = [video.entry.name for video in videos if video.frames is None]
    if unknown:
        raise ConfigError(
            f"it is not known how many frames {len(unknown)} test videos have: {_some(unknown)}; "
            "give a list of them as data.frame_counts, or let `hiprobe run` decode the videos"
        )
    return {
        video.entry.name: Length(video.frames, evaluated_frames(video.frames, view))
        for video in videos
        if video.frames is not None
    }


@dataclass(frozen=True, slots=True)
class _Laid:
    """All scores, on the frames of their videos."""

    unit: str
    """frame or clip for plain lists, interval where the file says which frames a score is of."""
    stretches: Mapping[str, Stretches]


def _lay_all(
    scores: Mapping[str, VideoScores], lengths: Mapping[str, Length], fitting: Fitting
) -> _Laid:
    unit = decide_unit(scores, lengths, fitting)
    steps = [
        longest_step(s.start) for s in scores.values() if s.start is not None and s.end is None
    ]
    longest = max((step for step in steps if step is not None), default=None)
    stretches = {
        name: lay(scores[name], length, unit, fitting, longest) for name, length in lengths.items()
    }
    plain = any(s.start is None for s in scores.values())
    return _Laid(unit if plain else "interval", stretches)


def _evaluated(
    video: ListedTest, stretches: Stretches, view: View, threshold: float | None
) -> EvaluatedVideo:
    from stages.probes.frames import evaluated_runs, read_truth

    assert video.frames is not None
    truth = read_truth(video.video_id, video.entry.truth, video.frames, view)
    before = stretches.score if stretches.unsmoothed is None else stretches.unsmoothed
    return evaluated_runs(
        video.video_id,
        _shortened(truth, stretches.frames),
        stretches.start,
        video.frames,
        before,
        stretches.score,
        threshold,
        _detections(stretches, threshold),
        video.seconds,
    )


def _shortened(truth: Truth, frames: int) -> Truth:
    """The same truth where only the first `frames` frames are scored, and so evaluated."""
    if frames >= truth.evaluated:
        return truth
    return dataclasses.replace(
        truth,
        evaluated=frames,
        intervals=tuple((s, min(e, frames)) for s, e in truth.intervals if s < frames),
        left_out=(*(span for span in truth.intervals if span[0] >= frames), *truth.left_out),
    )


def _detections(stretches: Stretches, threshold: float | None) -> Any:
    """What a run would detect in these scores at this threshold."""
    from stages.probes.frames import Detection
    from stages.probes.localization import intervals_above
    from stages.probes.spans import Spans

    if threshold is None:
        return ()
    end = np.append(stretches.start[1:], stretches.frames)
    times = np.zeros(len(end))  # seconds of a detection are not asked for
    spans = Spans(stretches.start, end, times, times)
    return [
        Detection(int(stretches.start[found.first]), int(end[found.stop - 1]), found.peak)
        for found in intervals_above(stretches.score, spans, threshold)
    ]


def _leave_out_unsmoothed(metrics: dict[str, Any]) -> None:
    """Say that there are no scores before smoothing, rather than show the same figures twice."""
    for name in metrics["unsmoothed"]:
        metrics["unsmoothed"][name] = None
        metrics["undefined"][f"unsmoothed.{name}"] = AS_GIVEN


def _short(
    videos: Mapping[str, ListedTest],
    stretches: Mapping[str, Stretches],
    lengths: Mapping[str, Length],
) -> list[dict[str, Any]]:
    """Videos that lack scores for frames that would be evaluated, with both numbers."""
    return [
        {
            "video_id": videos[name].video_id,
            "scored": found.frames,
            "frames": lengths[name].evaluated,
        }
        for name, found in stretches.items()
        if found.frames < lengths[name].evaluated
    ]


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + rest


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """Write metrics.json and replicates.parquet as the results of a run have them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "replicates.parquet", REPLICATES, found.replicate_columns())
    replace_json(folder / "metrics.json", found.metrics)
    for name in ("replicates.parquet", "metrics.json"):
        sums.note(folder / name)


def scores_text(metrics: Mapping[str, Any]) -> str:
    """The tables of results of a run, below a line that says what was read."""
    scores = metrics["scores"]
    units = {"frame": "one per frame", "clip": f"one per clip of {scores['clip']} frames"}
    head = (
        f"{scores['file']}: {scores['form']}; {units.get(scores['unit'], 'each with its frames')}"
    )
    if scores["tag"]:
        head += f"; {scores['tag']!r} behind every name is left out"
    return f"{head}\n\n{metrics_text(metrics)}"
