"""Stage index: the videos of a data set, what is known of each, and the probing subset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.errors import ConfigError
from cache.fields import at_least, between, knob, recipe
from manifests import schema
from manifests.datasets.listing import ListedVideo, listed_videos
from manifests.datasets.probing import choose_probing, passed_over
from stages.contract import Job, Result

VERSION = 1
SHOWN = 5
"""Videos that a note names."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The section [data]."""

    kind: str = recipe("folder", "kind of data set: folder, msad, ucf-crime, xd-violence")
    videos: str = knob("", "folder of the videos")
    labels: str = knob("", "(folder) CSV file of labels; its content enters the key, not its place")
    annotations: str = knob("", "published temporal annotations; their content enters the key")
    train_list: str = knob("", "published list of training videos: a name a line, or CSV")
    test_list: str = knob("", "published list of test videos: a name a line, or CSV")
    frame_counts: tuple[str, ...] = knob(
        (), "lists of frame counts, to be compared with what decoding finds"
    )
    unlisted: str = recipe(
        "error",
        "(folder) what to do with a video that the labels do not name",
        choices=("error", "score"),
    )
    allow_missing: bool = knob(
        False, "go on without listed videos that are not there; every figure then says so"
    )
    probing_share: float = recipe(
        0.01, "share of the labelled training videos in the probing subset", check=between(0, 1)
    )
    probing_count: int = recipe(
        0, "number of videos in the probing subset; 0 takes the share", check=at_least(0)
    )
    probing_videos: tuple[str, ...] = recipe(
        (), "ids of the videos of the probing subset, if not drawn"
    )
    probing_seed: int = recipe(0, "seed of the draw of the probing subset")
    probing_labels: str = recipe(
        "video",
        "anomalous samples: every segment of an anomalous training video, or (frame) only those "
        "of whose frames half or more lie in annotated intervals",
        choices=("video", "frame"),
    )


def compute(job: Job[Settings]) -> Result:
    """Write videos.parquet (schema.VIDEOS) and annotations.parquet (schema.ANNOTATIONS).

    `job.values["listing"]` is what `manifests.datasets.listing.listing_values` returns. Frames, rate,
    size and duration stay null: they are known once a video is decoded. Raises ConfigError for a
    probing subset that cannot be drawn.
    """
    from manifests.table import write_table

    rows = listed_videos(job.values["listing"])
    chosen = choose_probing(
        rows,
        share=job.settings.probing_share,
        count=job.settings.probing_count,
        videos=job.settings.probing_videos,
        seed=job.settings.probing_seed,
    )
    probing = [row for row in rows if row.video_id in chosen]
    if job.settings.probing_labels == "frame":
        refuse_unannotated(probing)
    write_table(job.out / "videos.parquet", schema.VIDEOS, _video_columns(rows, chosen))
    write_table(job.out / "annotations.parquet", schema.ANNOTATIONS, _annotation_columns(rows))
    return Result(rows=len(rows), notes=_notes(rows, probing))


def _video_columns(rows: Sequence[ListedVideo], chosen: frozenset[str]) -> dict[str, list[object]]:
    unknown: list[object] = [None] * len(rows)
    return {
        "video_id": [row.video_id for row in rows],
        "path": [row.path for row in rows],
        "bytes": [row.bytes for row in rows],
        "digest": [row.digest for row in rows],
        "split": [row.split for row in rows],
        "label": [row.label for row in rows],
        "class": [row.class_name for row in rows],
        "subset": ["probing" if row.video_id in chosen else "" for row in rows],
        **dict.fromkeys(("n_frames", "fps", "width", "height", "duration"), unknown),
    }


def _annotation_columns(rows: Sequence[ListedVideo]) -> dict[str, list[object]]:
    spans = [(row.video_id, *span) for row in rows for span in row.intervals]
    columns = zip(*spans, strict=True) if spans else [()] * 4
    return dict(zip(schema.ANNOTATIONS.names, map(list, columns), strict=True))


def refuse_unannotated(probing: Sequence[ListedVideo]) -> None:
    """Raise ConfigError for anomalous probing videos without an interval (probing_labels "frame")."""
    bare = [row.video_id for row in probing if row.label == 1 and not row.intervals]
    if bare:
        raise ConfigError(
            'data.probing_labels = "frame" needs an annotated interval in every anomalous video of '
            f"the probing subset; {', '.join(map(repr, bare))} has none: annotate it, name other "
            'videos in data.probing_videos, or set data.probing_labels = "video"'
        )


def _notes(rows: Sequence[ListedVideo], probing: Sequence[ListedVideo]) -> tuple[str, ...]:
    """The size of the probing subset, and the videos that were passed over."""
    labelled = [row for row in rows if row.split == "train" and row.label is not None]
    if not labelled:
        return ("no training video has a label: the probing subset is empty",)
    anomalous = sum(row.label == 1 for row in probing)
    notes = [
        f"probing subset: {len(probing)} of {len(labelled)} labelled training videos "
        f"({len(probing) - anomalous} normal, {anomalous} anomalous)"
    ]
    passed = passed_over(rows)
    if passed:
        more = f"; and {len(passed) - SHOWN} more" if len(passed) > SHOWN else ""
        notes.append(
            f"{len(passed)} labelled training videos were not considered for the probing subset: "
            f"{'; '.join(passed[:SHOWN])}{more}"
        )
    return tuple(notes)
