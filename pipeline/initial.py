"""The configuration that `hiprobe init` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cache.errors import ConfigError
from manifests.datasets.contract import READERS
from manifests.datasets.which_split import tell_splits
from pipeline.toml import render

HEAD = """A hiprobe run over {what}.
#
#   hiprobe check FILE     what is missing, left over or contradictory in the data set
#   hiprobe plan FILE      what would run, and why
#   hiprobe run FILE       run it; stop and start again at any time
#   hiprobe status FILE    what is fresh, stale, missing, failed
#
# Relative paths start at the folder of this file. Fields can be left out: these are the defaults,
# but for data.videos and what was given on the command line."""

TITLES = {"msad": "MSAD", "ucf-crime": "UCF-Crime", "xd-violence": "XD-Violence"}
OWN_FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    # Its intervals count from 1 with both ends included: this view gives the published figures.
    "msad": {"evaluate": {"labels": "inclusive"}},
}
"""What a data set needs beside its paths, by kind."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What `hiprobe init` is told beside the data set."""

    backbone: str = ""
    scorer: str = ""
    name: str = ""


def folder_config(videos: str, labels: str, frame_counts: Sequence[str], beside: Beside) -> str:
    """TOML for a folder of videos of one's own."""
    data = {"kind": "folder", "videos": videos, "labels": labels, "frame_counts": frame_counts}
    return _render("a folder of videos", data, beside, {})


def published_config(
    kind: str,
    *,
    videos: str,
    annotations: str,
    splits: Sequence[str] = (),
    train_list: str = "",
    test_list: str = "",
    frame_counts: Sequence[str] = (),
    beside: Beside,
) -> str:
    """TOML for a published data set; paths are written as they are given.

    The lists in `splits` are opened (from the working folder) to tell which is of which split.
    Raises ConfigError where that cannot be told, or where a list is given twice.
    """
    lists = {"train": train_list, "test": test_list}
    if splits:
        reader: Any = import_module(READERS[kind])
        for split, path in tell_splits(
            splits, annotations, reader.ANNOTATED_CLASSES, reader.PUBLISHED
        ).items():
            if lists[split]:
                raise ConfigError(f"--splits {path} is a {split} list, and --{split}-list is given")
            lists[split] = path
    data = {
        "kind": kind,
        "videos": videos,
        "annotations": annotations,
        "train_list": lists["train"],
        "test_list": lists["test"],
        "frame_counts": frame_counts,
    }
    return _render(TITLES[kind], data, beside, OWN_FIELDS.get(kind, {}))


def _render(
    what: str, data: dict[str, Any], beside: Beside, more: dict[str, dict[str, Any]]
) -> str:
    values = {
        "run": {"name": beside.name, "scorer": beside.scorer},
        "data": data,
        "backbone": {"model": beside.backbone},
        **more,
    }
    return render(values, head=HEAD.format(what=what))
