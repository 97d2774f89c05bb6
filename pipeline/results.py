"""Whether the results of a run are as they were written, and what becomes of those that are not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from cache import sums
from pipeline.comparison import FILE as VARIANTS
from pipeline.graph import NODES
from pipeline.outputs import RESULTS, STATE, THRESHOLD
from pipeline.record import manifest_path
from pipeline.task import SCORER
from pipeline.variants import FOLDER as BESIDE

SET_ASIDE = "quarantine"


def has_sums(results: Path) -> bool:
    """Whether anything is known of what the results should be; an older hiprobe wrote no sums."""
    return (results / sums.SUMS).exists()


def broken_results(results: Path) -> Iterator[tuple[Path, str]]:
    """(path, what is wrong) of every file among the results, and the manifests, of a run."""
    folders = {
        results: dict.fromkeys((*RESULTS, STATE, VARIANTS), "a result"),
        manifest_path(results, "").parent: {f"{name}.parquet": "a manifest" for name in NODES},
        results / "scorer": dict.fromkeys(SCORER, "a part of the scorer"),
        results / "threshold": dict.fromkeys(THRESHOLD, "a part of the threshold"),
        **{folder: {} for folder in sorted((results / BESIDE).glob("*/"))},
    }
    for folder, ours in folders.items():
        if (folder / sums.SUMS).exists():
            for name, message in sums.problems(folder, ours):
                yield folder / name, message


def set_aside(path: Path) -> None:
    """Take a result away that is not as it was written: the next run writes it anew."""
    if path.name == sums.SUMS:
        sums.mend(path.parent)
        return
    if path.exists():
        folder = path.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        path.replace(folder / f"{path.name}~{uuid.uuid4().hex[:8]}")
    sums.forget(path)
