"""Probing videos and the jobs of stage fit over them."""

import shutil

import numpy as np

from cache.digest import write_json
from manifests.schema import SEGMENTS
from manifests.table import write_table
from stages import fit
from stages.contract import Job
from tests.payload import Folder
from tests.states import QUESTION, write_artifact, write_heads_artifact

FEATURES = {"backbone": "abc", "keyframes": 8}
LABELS = {
    "a": {"split": "train", "label": 0, "intervals": None},
    "b": {"split": "train", "label": 1, "intervals": [[24, 400]]},
    "c/d.e": {"split": "train", "label": 1, "intervals": None},
}


def make_videos(seed=0, dim=6):
    generator = np.random.default_rng(seed)
    return {
        name: (shift + generator.normal(size=(n, 4, dim))).astype(np.float32)
        for name, n, shift in (("a", 40, 0.0), ("b", 15, 0.7), ("c/d.e", 9, 0.7))
    }


def make_job(
    tmp_path, videos, labels=LABELS, layer=2, out="out", question=QUESTION, states=None, **changed
):
    many = {"states": {}, "plan": {}}
    for name, rows in sorted(videos.items()):
        folder = tmp_path / name
        for part in ("states", "plan"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            many[part][name] = Folder(folder / part)
        write_artifact(folder / "states", rows, **(states or {}))
        starts = 24 * np.arange(len(rows))
        columns = {
            "segment": np.arange(len(rows)),
            "start_frame": starts,
            "end_frame": starts + 24,
            "start_s": starts / 30,
            "end_s": (starts + 24) / 30,
        }
        write_table(folder / "plan/segments.parquet", SEGMENTS, columns)
    (tmp_path / "choice").mkdir(exist_ok=True)
    (tmp_path / out).mkdir()
    write_json(tmp_path / "choice/choice.json", {"layer": layer})
    return Job(
        "set", fit.Settings(**{"folds": 0, **changed}), tmp_path / out, {"choice": Folder(tmp_path / "choice")},
        many, {"labels": labels, "features": FEATURES, "question": question, "unit": "video",
               "sources": {name: f"bytes of {name}" for name in videos}},
    )  # fmt: skip


MANY = {f"v{k}": (k % 2, 3 + k) for k in range(9)}
"""Video id to label and segments: five normal and four anomalous videos."""
MANY_LABELS = {n: {"split": "train", "label": a, "intervals": None} for n, (a, _) in MANY.items()}


def many_videos(seed=0, dim=6):
    generator = np.random.default_rng(seed)
    return {
        name: (0.9 * label + generator.normal(size=(n, 4, dim))).astype(np.float32)
        for name, (label, n) in MANY.items()
    }


def write_steered(tmp_path, videos):
    """One head of each of layers 0 and 3, and layer 2 to steer them; the rows of all videos."""
    rows = []
    for name, states in sorted(videos.items()):
        heads = states.reshape(len(states), 1, 4, 2, -1)
        shutil.rmtree(tmp_path / name / "states/heads.zarr", ignore_errors=True)
        write_heads_artifact(tmp_path / name / "states", heads)
        rows.append(np.concatenate([heads[:, 0, 0, 1], heads[:, 0, 3, 0], states[:, 2]], axis=1))
    choice = {"heads": [[0, 1], [3, 0]], "context": 2}
    write_json(tmp_path / "choice/choice.json", choice)
    return choice, np.concatenate(rows)
