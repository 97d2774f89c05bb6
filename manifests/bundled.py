"""The tables of a bundle: what a person needs to join rows of hidden states with videos."""

from __future__ import annotations

from manifests.columns import SEGMENT, SPAN, SPLIT, VIDEO_ID, Column, TableSchema
from manifests.schema import VIDEOS

BUNDLED_VIDEOS = TableSchema(
    "bundled_videos",
    1,
    "one row per video of the data set, and which array holds its hidden states",
    (
        *VIDEOS.columns,
        Column("segments", "int32", "rows of its array; null where it failed", nullable=True),
        Column("array", "string", "name of its array in states.zarr; empty where it failed"),
    ),
    ("video_id",),
)

BUNDLED_SEGMENTS = TableSchema(
    "bundled_segments",
    1,
    "one row per row of an array",
    (
        VIDEO_ID,
        SEGMENT,
        *SPAN,
        SPLIT,
        Column("label", "int32", "of the video: 0 normal, 1 anomalous", nullable=True),
        Column("subset", "string", "probing for the training videos that the probe is fitted on"),
        Column(
            "anomalous_frames",
            "int32",
            "frames in annotated intervals; null for an anomalous video without any, or no label",
            nullable=True,
        ),
    ),
    ("video_id", "segment"),
)
