"""The tables that hiprobe writes: every column, its type and its meaning, in one place."""

from __future__ import annotations

from manifests.columns import SEGMENT, SPAN, SPLIT, VIDEO_ID, Column, TableSchema
from manifests.comparisons import COMPARISON, SWEEP
from manifests.probing import CROSS_VALIDATION as CROSS_VALIDATION
from manifests.probing import CV_REPLICATES as CV_REPLICATES
from manifests.probing import HEAD_REPLICATES as HEAD_REPLICATES
from manifests.probing import HEAD_SELECTION as HEAD_SELECTION
from manifests.probing import HEADS as HEADS
from manifests.probing import LAYER_REPLICATES as LAYER_REPLICATES
from manifests.probing import LAYERS as LAYERS
from manifests.probing import PROBING_SCORES as PROBING_SCORES
from manifests.probing import PROJECTIONS as PROJECTIONS
from manifests.probing import SELECTION as SELECTION
from manifests.probing import SENSITIVITY as SENSITIVITY
from manifests.probing import TRAINING_ROWS as TRAINING_ROWS

VIDEOS = TableSchema(
    "videos",
    1,
    "one row per video of the data set",
    (
        VIDEO_ID,
        Column("path", "string", "path relative to the data set root"),
        Column("bytes", "int64", "size of the file"),
        Column("digest", "string", "sha256 of the file; empty where it could not be read"),
        SPLIT,
        Column("label", "int32", "0 normal, 1 anomalous", nullable=True),
        Column("class", "string", "name of the class, empty where none was given"),
        Column("subset", "string", "probing for the training videos that the probe is fitted on"),
        Column("n_frames", "int32", "frames counted by decoding", nullable=True),
        Column("fps", "float64", "average frame rate", nullable=True),
        Column("width", "int32", "pixels, after rotation", nullable=True),
        Column("height", "int32", "pixels, after rotation", nullable=True),
        Column("duration", "float64", "seconds", nullable=True),
    ),
    ("video_id",),
)

ANNOTATIONS = TableSchema(
    "annotations",
    1,
    "one row per annotated anomalous interval",
    (
        VIDEO_ID,
        Column("start_frame", "int32", "first anomalous frame, from 0"),
        Column("end_frame", "int32", "one past the last anomalous frame"),
        Column("class", "string", "name of the class"),
    ),
    ("video_id", "start_frame", "end_frame"),
)

TIMELINE = TableSchema(
    "timeline",
    1,
    "one row per frame of a video",
    (
        Column("frame", "int32", "number of the frame in presentation order, from 0"),
        Column("pts_s", "float64", "presentation time, seconds"),
        Column("key", "bool", "whether it is a key frame"),
        Column("sound", "bool", "whether it decoded without any error flag"),
    ),
    ("frame",),
)

THUMBNAILS = TableSchema(
    "thumbnails",
    1,
    "small pictures of a video, for people",
    (
        Column("frame", "int32", "number of the frame"),
        Column("pts_s", "float64", "presentation time, seconds"),
        Column("jpeg", "binary", "the picture"),
    ),
    ("frame",),
)

SEGMENTS = TableSchema(
    "segments", 1, "one row per segment of a video", (SEGMENT, *SPAN), ("segment",)
)

KEYFRAMES = TableSchema(
    "keyframes",
    1,
    "one row per keyframe of a segment",
    (
        SEGMENT,
        Column("k", "int32", "number of the keyframe in its segment, from 0"),
        Column("frame", "int32", "number of the frame that is shown to the backbone"),
        Column("pts_s", "float64", "presentation time of that frame, seconds"),
        Column("substituted", "bool", "an earlier frame stands in for an unsound one"),
    ),
    ("segment", "k"),
)

PIXELS = TableSchema(
    "pixels",
    1,
    "stored keyframes, one row per distinct frame",
    (
        Column("frame", "int32", "number of the frame"),
        Column("image", "binary", "the encoded picture"),
    ),
    ("frame",),
)

YES_NO = TableSchema(
    "yes_no",
    1,
    "how the answer to each prompt would begin, one row per segment and prompt",
    (
        SEGMENT,
        Column("prompt", "int32", "number of the prompt in forward.prompts, from 0"),
        Column("yes", "float64", "probability that the first token says yes"),
        Column("no", "float64", "probability that it says no"),
    ),
    ("segment", "prompt"),
)

SEGMENT_SCORES = TableSchema(
    "segment_scores",
    1,
    "one row per segment of a video with its score",
    (SEGMENT, *SPAN, Column("score", "float64", "probability of an anomaly")),
    ("segment",),
)

SMOOTHED = TableSchema(
    "smoothed",
    1,
    "segment scores before and after smoothing",
    (
        SEGMENT,
        *SPAN,
        Column("score", "float64", "probability of an anomaly"),
        Column("smoothed", "float64", "the same after Gaussian smoothing"),
    ),
    ("segment",),
)

INTERVALS = TableSchema(
    "intervals",
    1,
    "one row per detected interval of a video",
    (
        Column("interval", "int32", "number of the interval in its video, from 0"),
        *SPAN,
        Column("peak", "float64", "highest smoothed score in the interval"),
        Column("mean", "float64", "mean smoothed score over its frames"),
        Column("threshold", "float64", "the score that it exceeds"),
    ),
    ("interval",),
)

EXPLANATIONS = TableSchema(
    "explanations",
    1,
    "one row per explained interval",
    (
        Column("interval", "int32", "number of the interval in its video; -1 for a normal stretch"),
        Column("kind", "string", "anomalous or normal"),
        *SPAN,
        Column("frames", "string", "the frames that were shown, separated by blanks"),
        Column("prompt", "string", "the question that was asked"),
        Column("text", "string", "what the backbone answered"),
        Column("finish_reason", "string", "stop, length or error"),
        Column("tokens", "int32", "generated tokens"),
        Column("seed", "int64", "seed of the generation"),
        Column("model", "string", "identity of the backbone"),
        Column("error", "string", "what went wrong; empty otherwise"),
    ),
    ("interval",),
)

CURVES = TableSchema(
    "curves",
    1,
    "points of the pooled ROC and precision-recall curves, thinned for drawing",
    (
        Column("curve", "string", "roc or pr"),
        Column("point", "int32", "order along the curve"),
        Column("x", "float64", "false positive rate, or recall"),
        Column("y", "float64", "true positive rate, or precision"),
    ),
    ("curve", "point"),
)

REPLICATES = TableSchema(
    "replicates",
    1,
    "the figures of every bootstrap replicate; null where one is not defined in it",
    (
        Column("replicate", "int32", "number of the replicate, from 0"),
        Column("auc", "float64", "pooled frame-level ROC AUC", nullable=True),
        Column("ap", "float64", "pooled frame-level average precision", nullable=True),
        Column("ap_trapezoid", "float64", "trapezoids under recall and precision", nullable=True),
        Column("macro_within_video_auc", "float64", "mean ROC AUC within a video", nullable=True),
    ),
    ("replicate",),
)

STAGE_MANIFEST = TableSchema(
    "stage_manifest",
    1,
    "one row per item of one stage of a run",
    (
        VIDEO_ID,
        Column("key", "string", "key of the artifact"),
        Column("digest", "string", "content digest of the artifact; empty where it failed"),
        Column("status", "string", "ok or failed"),
        Column("rows", "int64", "rows that the item gave"),
        Column("bytes", "int64", "bytes of the artifact"),
        Column("seconds", "string", "seconds per phase, as JSON"),
        Column("error_class", "string", "name of the error; empty where it is ok"),
        Column("message", "string", "text of the error; empty where it is ok"),
        Column("attempts", "int32", "how often this key was tried in this run's folder"),
    ),
    ("video_id",),
)


def _of_videos(schema: TableSchema, doc: str) -> TableSchema:
    """The same table for a whole run: video_id in front."""
    return TableSchema(
        f"run_{schema.name}", schema.version, doc, (VIDEO_ID, *schema.columns),
        ("video_id", *schema.sort),
    )  # fmt: skip


RUN_SCORES = _of_videos(SMOOTHED, "scores.parquet of a run: every segment of every video")
RUN_INTERVALS = _of_videos(INTERVALS, "intervals.parquet of a run: every detected interval")
RUN_EXPLANATIONS = _of_videos(EXPLANATIONS, "explanations.parquet of a run")

ALL: tuple[TableSchema, ...] = (
    VIDEOS, ANNOTATIONS, TIMELINE, THUMBNAILS, SEGMENTS, KEYFRAMES, PIXELS, YES_NO, LAYERS,
    LAYER_REPLICATES, CROSS_VALIDATION, CV_REPLICATES, PROJECTIONS,
    SELECTION, HEADS, HEAD_REPLICATES, HEAD_SELECTION, TRAINING_ROWS, PROBING_SCORES, SENSITIVITY, SEGMENT_SCORES,
    SMOOTHED, INTERVALS, EXPLANATIONS, CURVES, REPLICATES, COMPARISON, SWEEP, STAGE_MANIFEST, RUN_SCORES,
    RUN_INTERVALS, RUN_EXPLANATIONS,
)  # fmt: skip
