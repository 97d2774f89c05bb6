"""The tables that lie beside the results of several runs."""

from __future__ import annotations

from manifests.columns import Column, TableSchema

COMPARISON = TableSchema(
    "comparison",
    1,
    "a run beside its variants and the label-only baselines, on the same test videos",
    (
        Column("place", "int32", "order of the rows: the base run, its variants, the baselines"),
        Column("kind", "string", "base, variant or baseline"),
        Column("name", "string", "name of the variant and of its results folder, or the baseline"),
        Column("text", "string", "what it is"),
        Column("overrides", "string", "fields with other values than the base run's, as JSON"),
        Column("layer", "int32", "the layer that the scorer reads", nullable=True),
        Column("heads", "string", "the heads that it reads, as layer.head separated by blanks"),
        Column("auc", "float64", "frame-level ROC AUC of the smoothed curve", nullable=True),
        Column("auc_low", "float64", "lower end of its 95 % interval over videos", nullable=True),
        Column("auc_high", "float64", "upper end of it", nullable=True),
        Column("ap", "float64", "frame-level average precision", nullable=True),
        Column("within_video_auc", "float64", "mean ROC AUC within a video", nullable=True),
        Column("auc_thresholded", "float64", "ROC AUC of the thresholded curve", nullable=True),
        Column(
            "event_f1", "float64", "F1 of the intervals at a temporal IoU of 0.3", nullable=True
        ),
        Column("false_alarms_per_hour", "float64", "of normal video", nullable=True),
        Column("videos", "int32", "test videos in the figures", nullable=True),
        Column("missing", "int32", "test videos that failed and are not in them", nullable=True),
        Column("problem", "string", "what went wrong; empty otherwise"),
    ),
    ("place",),
)

SWEEP = TableSchema(
    "sweep",
    1,
    "a family of experiments: one row per row and column of its table",
    (
        Column("place", "int32", "order of the cells: row by row, column by column"),
        Column(
            "row", "string", "name of the row, and of its results folder where it has overrides"
        ),
        Column("column", "string", "name of the column"),
        Column("text", "string", "what the row is"),
        Column("overrides", "string", "fields with other values than the base run's, as JSON"),
        Column("scorer", "string", "column whose run fitted the scorer; empty for its own"),
        Column("metric", "string", "the figure, as metrics.json names it"),
        Column("published", "float64", "what was published, percent", nullable=True),
        Column("ours", "float64", "what the run gave, percent", nullable=True),
        Column("low", "float64", "lower end of its 95 % interval over videos", nullable=True),
        Column("high", "float64", "upper end of it", nullable=True),
        Column("difference", "float64", "ours less published, in points", nullable=True),
        Column("layer", "int32", "the layer that the scorer reads", nullable=True),
        Column("heads", "string", "the heads that it reads, as layer.head separated by blanks"),
        Column("videos", "int32", "test videos in the figure", nullable=True),
        Column("missing", "int32", "test videos that failed and are not in it", nullable=True),
        Column("absent", "int32", "test videos that were not there", nullable=True),
        Column("problem", "string", "why there is no figure, or what failed; empty otherwise"),
    ),
    ("place",),
)
