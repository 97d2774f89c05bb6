"""Published scores and labels, evaluated with the real lists: the published figures come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import call

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.exists(), reason="../shared/data, the real lists and scores, is not here"
)
ANNOTATED = "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"

CLASSES = {
    "Assault": "Assault",
    "Explosion": "Explosion",
    "Fighting": "Fighting",
    "Fire": "Fire",
    "Object": "Object Falling",
    "People": "People Falling",
    "Robbery": "Robbery",
    "Shooting": "Shooting",
    "Traffic": "Traffic Accident",
    "Vandalism": "Vandalism",
    "Water": "Water Incident",
}
"""Class in the annotations -> its name in VADTree's metrics."""


def config(folder: Path, kind: str, lists: str, counts: str, labels: str, more: str = "") -> Path:
    path = folder / f"{kind}.toml"
    path.write_text(
        f'[data]\nkind = "{kind}"\nannotations = "{SHARED / lists}"\n{more}'
        f'frame_counts = ["{SHARED / counts}"]\n[evaluate]\nlabels = "{labels}"\nbootstrap = 0\n'
    )
    return path


def evaluate(*words: object) -> Any:
    called = call("evaluate-scores", *words, "--json")
    assert called.code == 0, called.out
    return called.value()


@pytest.fixture(scope="module")
def msad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lists, counts = f"msad/{ANNOTATED}", "msad/anomaly_test.txt"
    return config(tmp_path_factory.mktemp("msad"), "msad", lists, counts, "inclusive")


def test_vadtree_on_msad(msad: Path) -> None:
    metrics = evaluate(SHARED / "msad" / "vadtree_final_scores.json", "--dataset", msad)
    published = json.loads((SHARED / "msad" / "vadtree_final_metrics.json").read_text())
    figures = (
        (metrics, published["dataset_metric"]["all"], (0.8932, 0.7141)),
        (metrics["anomalous_only"], published["dataset_metric"]["Abnormal"], (0.6785, 0.7549)),
    )
    for ours, theirs, expected in figures:
        found = round(ours["auc"], 4), round(ours["ap_trapezoid"], 4)
        assert found == (theirs["roc_auc"], theirs["pr_auc"]) == expected
    assert metrics["scores"]["unit"] == "frame"
    assert (metrics["counts"]["videos"], metrics["counts"]["frames"]) == (240, 146408)


def test_vadtree_on_single_videos_of_msad(msad: Path) -> None:
    """Their figures are rounded to 4 digits, so is their mean at best."""
    metrics = evaluate(SHARED / "msad" / "vadtree_final_scores.json", "--dataset", msad)
    published = json.loads((SHARED / "msad" / "vadtree_final_metrics.json").read_text())
    theirs = {name: video["roc_auc"] for name, video in published["vid_metric"].items()}
    for name, ours in metrics["per_class"].items():
        values = [v for video, v in theirs.items() if video.startswith(f"{name}_")]
        assert ours["within_video_auc"] == pytest.approx(np.nanmean(values), abs=5e-5), name
    assert metrics["macro_within_video_auc"] == pytest.approx(
        np.nanmean(list(theirs.values())), abs=5e-5
    )


@pytest.mark.parametrize("name", CLASSES)
def test_vadtree_on_the_videos_of_a_class_alone(msad: Path, tmp_path: Path, name: str) -> None:
    """VADTree pools a class by itself; ours sets it against all normal videos (per_class)."""
    scores = json.loads((SHARED / "msad" / "vadtree_final_scores.json").read_text())["vid_score"]
    mine = {video: values for video, values in scores.items() if video.startswith(f"{name}_")}
    (tmp_path / "class.json").write_text(json.dumps(mine))
    metrics = evaluate(tmp_path / "class.json", "--dataset", msad, "--allow-missing")
    published = json.loads((SHARED / "msad" / "vadtree_final_metrics.json").read_text())
    theirs = published["dataset_metric"][CLASSES[name]]
    assert round(metrics["auc"], 4) == theirs["roc_auc"]
    assert round(metrics["ap_trapezoid"], 4) == theirs["pr_auc"]
    assert metrics["counts"]["videos"] == len(mine)
    assert metrics["missing"]["count"] == 240 - len(mine)


@pytest.mark.parametrize(
    ("kind", "folder", "lists", "tag", "words"),
    [
        ("ucf-crime", "ucf_crime", ANNOTATED, "__9_gt", ("--labels", "floor16")),
        ("xd-violence", "xd_violence", "annotations.txt", "__0", ("--allow-short", 16)),
    ],
)
def test_published_labels_are_perfect_scores(
    tmp_path: Path, kind: str, folder: str, lists: str, tag: str, words: tuple[object, ...]
) -> None:
    counts = f"{folder}/test_frame_counts.csv"
    # XD-Violence annotates its anomalous videos only: the list of frame counts names all 800
    named = f'test_list = "{SHARED / counts}"\n'
    dataset = config(tmp_path, kind, f"{folder}/{lists}", counts, "exact", named)
    labels = SHARED / folder / "gt_examples"
    metrics = evaluate(labels, "--dataset", dataset, "--allow-missing", *words)
    assert metrics["scores"]["tag"] == tag
    assert metrics["counts"]["videos"] == len(list(labels.iterdir())) == 10
    assert (metrics["auc"], metrics["ap"]) == (1, 1)
