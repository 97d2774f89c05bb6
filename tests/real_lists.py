"""The published lists of the data sets, where they are at hand, beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.datasets.contract import Sources

LISTS = Path(__file__).parents[1].parent / "shared" / "data"
UCF, XD, MSAD = LISTS / "ucf_crime", LISTS / "xd_violence", LISTS / "msad"
TEMPORAL = "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"

needs_lists = pytest.mark.skipif(
    not LISTS.exists(), reason="../shared/data, with the published lists, is not here"
)


def ucf_sources(root: Path | None = None) -> Sources:
    """Every list of UCF-Crime."""
    return Sources(
        root,
        annotations=UCF / TEMPORAL,
        train_list=UCF / "Anomaly_Train.txt",
        test_list=UCF / "Anomaly_Test.txt",
        frame_counts=(UCF / "test_frame_counts.csv", UCF / "train_frame_counts.txt"),
    )


def xd_sources(root: Path | None = None) -> Sources:
    """Every list of XD-Violence; those of frame counts serve as lists of names."""
    counts = (XD / "test_frame_counts.csv", XD / "train_frame_counts.csv")
    return Sources(
        root,
        annotations=XD / "annotations.txt",
        train_list=counts[1],
        test_list=counts[0],
        frame_counts=counts,
    )


def msad_sources(root: Path | None = None) -> Sources:
    """Every list of MSAD."""
    listed = MSAD / "anomaly_test.txt"
    return Sources(root, annotations=MSAD / TEMPORAL, test_list=listed, frame_counts=(listed,))
