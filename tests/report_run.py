"""A run for the tests of the report, its payloads made by hand, and its page as a browser sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from cache.digest import write_json
from cache.errors import DamagedArtifact
from manifests import schema
from manifests.table import write_table
from stages import report
from stages.contract import Job
from tests.training import spans_of

EVIL = "<script>alert(1)</script>\"'`&amp;<img src=x onerror=alert(2)>"
JPEG = b"\xff\xd8\xff\xe0 a picture"
THRESHOLD = {
    "threshold": 0.5, "rule": "kappa", "mu": 0.42, "sigma": 0.4, "kappa": 0.2, "scorer": "logistic",
    "labels": "video", "unit": "segment", "search": None,
    "training_rows": {
        "scores": "held_out", "videos": 2, "rows": 4, "normal_frames": 48, "anomalous_frames": 48,
        "normal_hours": 0.5, "precision": None, "recall": 0.0, "f1": 0.0, "normal_above": 0.0,
        "alarms_per_hour": 0.0,
    },
}  # fmt: skip
VOID = {"meta", "img", "br", "input", "link", "base"}
INLINE = {"a", "abbr", "b", "bdi", "code", "em", "i", "small", "span", "strong"}


class Folder:
    """A payload over a folder, strict about names as the store is."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path

    def holds(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        if not (self.path / name).exists():
            raise DamagedArtifact(f"the artifact does not hold {name}")
        return self.path / name


@dataclass
class Run:
    """All inputs of a report; a test changes what it is about."""

    root: Path
    inputs: dict[str, Folder] = field(default_factory=dict)
    many: dict[str, dict[str, Folder]] = field(
        default_factory=lambda: {"intervals": {}, "explanations": {}, "timeline": {}}
    )
    videos: list[dict[str, Any]] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Folder:
        return Folder(self.root / f"{name}-{sum(1 for _ in self.root.iterdir())}")

    def add_video(
        self,
        name: str,
        scores: list[float],
        *,
        split: str = "test",
        label: int | None = 1,
        class_name: str = "Fight",
        intervals: list[list[int]] | None = None,
        subset: str = "",
    ) -> None:
        self.videos.append(
            {
                "video_id": name, "split": split, "label": label, "class": class_name,
                "subset": subset, "intervals": intervals or [],
            }
        )  # fmt: skip
        self.many["intervals"][name] = self._localized(scores)
        self.many["timeline"][name] = self._timeline(24 * len(scores))

    def _localized(self, scores: list[float]) -> Folder:
        folder, n = self.folder("localize"), len(scores)
        spans: dict[str, list[Any]] = {
            "segment": list(range(n)),
            "start_frame": [24 * i for i in range(n)],
            "end_frame": [24 * (i + 1) for i in range(n)],
            "start_s": [float(i) for i in range(n)],
            "end_s": [float(i + 1) for i in range(n)],
        }
        write_table(
            folder.path / "smoothed.parquet",
            schema.SMOOTHED,
            {**spans, "score": scores, "smoothed": scores},
        )
        above = [i for i, score in enumerate(scores) if score > 0.5]
        found = {
            "interval": list(range(len(above))),
            **{name: [values[i] for i in above] for name, values in spans.items() if name != "segment"},
            "peak": [scores[i] for i in above],
            "mean": [scores[i] for i in above],
            "threshold": [0.5] * len(above),
        }  # fmt: skip
        write_table(folder.path / "intervals.parquet", schema.INTERVALS, found)
        write_json(folder.path / "threshold.json", THRESHOLD)
        return folder

    def _timeline(self, frames: int) -> Folder:
        folder = self.folder("decode")
        write_json(
            folder.path / "video.json",
            {
                "n_frames": frames,
                "fps": 24.0,
                "width": 320,
                "height": 240,
                "duration_s": frames / 24,
            },
        )
        columns = {"frame": [0, 12], "pts_s": [0.0, 0.5], "jpeg": [JPEG, JPEG]}
        write_table(folder.path / "thumbnails.parquet", schema.THUMBNAILS, columns)
        return folder

    def explain(
        self, name: str, text: str, *, prompt: str = "What happens?", error: str = ""
    ) -> None:
        folder = self.folder("explain")
        row = {
            "interval": 0, "kind": "anomalous", "start_frame": 24, "end_frame": 48, "start_s": 1.0,
            "end_s": 2.0, "frames": "25 40", "prompt": prompt, "text": text,
            "finish_reason": "length", "tokens": 7, "seed": 3, "model": "m", "error": error,
        }  # fmt: skip
        columns = {key: [value] for key, value in row.items()}
        write_table(folder.path / "explanations.parquet", schema.EXPLANATIONS, columns)
        self.many["explanations"][name] = folder

    def write(self, out: str = "out", **settings: Any) -> tuple[bytes, Any]:
        folder = self.root / out
        folder.mkdir()
        job = Job(
            item="run", settings=report.Settings(**settings), out=folder, inputs=self.inputs,
            many=self.many, values={"videos": self.videos, "run": self.run},
        )  # fmt: skip
        result = report.compute(job)
        assert [path.name for path in folder.iterdir()] == ["report.html"]
        return (folder / "report.html").read_bytes(), result

    def page(self, **settings: Any) -> Page:
        return Page.of(self.write(**settings)[0])


class Page(HTMLParser):
    """A page as a browser sees it: elements, attributes, text outside script and style."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.script = ""
        self.source = ""

    @classmethod
    def of(cls, source: bytes) -> Page:
        page = cls()
        page.source = source.decode("utf-8")
        page.feed(page.source)
        page.close()
        assert page.open == [], "every element is closed"
        page.text = " ".join(page.text.split())
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.text += "" if tag in INLINE else " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += "" if tag in INLINE else " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.script += data
        elif "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def figures(**changes: Any) -> dict[str, Any]:
    three = {"auc": 0.8, "ap": 0.7, "ap_trapezoid": 0.6}
    found: dict[str, Any] = {
        "auc": 0.81234, "ap": 0.41234, "ap_trapezoid": 0.42, "auc_thresholded": 0.71, "ap_thresholded": 0.4,
        "unsmoothed": three,
        "anomalous_only": {"auc": 0.66, "ap": 0.55, "ap_trapezoid": 0.54},
        "macro_within_video_auc": 0.61, "video_level_auc": 0.77,
        "per_class": {"Fight": {"videos": 1, "positive_frames": 24, **three, "within_videos": 1, "within_video_auc": 0.6}},
        "events": {"0.5": {"matched": 1, "precision": 0.5, "recall": 1.0, "f1": 0.667}},
        "false_alarms_per_hour": 12.5,
        "bootstrap": {
            "replicates": 1000, "seed": 0, "level": 0.95, "unit": "video",
            "auc": {"low": 0.7511, "high": 0.8622, "replicates": 1000}, "ap": None,
            "ap_trapezoid": None, "macro_within_video_auc": None,
        },
        "baselines": {
            "constant_oracle": {"auc": 0.9157, "ap": 0.1819, "ap_trapezoid": 0.5909},
            "inverse_length": {"auc": 0.6512, "ap": 0.1032, "ap_trapezoid": 0.1016},
        },
        "counts": {"videos": 2, "frames": 144, "positive_frames": 24, "hours": 0.5},
        "clipped": [], "missing": {"count": 0, "videos": []}, "threshold": THRESHOLD, "undefined": {},
    }  # fmt: skip
    return {**found, **changes}


def put_metrics(run: Run, **changes: Any) -> None:
    folder = run.folder("evaluate")
    write_json(folder.path / "metrics.json", figures(**changes))
    curves = {"curve": ["pr", "pr", "roc", "roc"], "point": [0, 1, 0, 1], "x": [0.0, 1.0] * 2,
              "y": [1.0, 0.2, 0.0, 1.0]}  # fmt: skip
    write_table(folder.path / "curves.parquet", schema.CURVES, curves)
    run.inputs["metrics"] = folder


def put_probe(run: Run, method: str = "dlsp") -> None:
    choice, table, scorer = (run.folder(name) for name in ("select", "statistics", "fit"))
    z = [None, -1.0, 1.5, -0.5]
    columns = {
        "layer": [0, 1, 2, 3], "n_normal": [9] * 4, "n_anomalous": [7] * 4,
        "kl": [0.0, 0.1, 0.4567, 0.2], "ldr": [0.0, 0.1, 0.3, 0.2], "entropy": [0.0, 2.0, 3.0, 2.5],
        "silhouette": [0.0, 0.1, 0.2, 0.1], "silhouette_se": [0.0, 0.0123, 0.0, 0.01], "z_kl": z, "z_ldr": z, "z_entropy": z,
        "score": [None, -3.0, 4.5, -1.5] if method == "dlsp" else [None] * 4,
        "wins": [0.0, 0.0625, 0.875, 0.0] if method == "dlsp" else [None] * 4,
        "chosen": [False, False, True, False],
        **dict.fromkeys(("cv", "cv_std", "cv_pooled"), [None] * 4),
    }  # fmt: skip
    write_table(choice.path / "layers.parquet", schema.SELECTION, columns)
    write_json(choice.path / "choice.json", {"layer": 2})
    stability = {"replicates": 16, "undecided": 1, "wins": 0.875} if method == "dlsp" else None
    record = {
        "method": method, "prompt": 0, "layer": 2, "layers": [0, 1, 2, 3], "stability": stability
    }  # fmt: skip
    write_json(choice.path / "selection.json", record)
    write_json(
        table.path / "statistics.json",
        {"bins": 64, "eps": 1e-6, "n_normal": 9, "n_anomalous": 7, "dim": 8, "layers": 4},
    )
    record = {
        "kind": "logistic",
        "layer": 2,
        "mu": 0.42,
        "sigma": 0.4,
        "converged": True,
        "features": {"backbone": "b"},
    }
    write_json(scorer.path / "scorer.json", record)
    scores = {
        "video_id": ["a"] * 4,
        "split": ["train"] * 4,
        "digest": ["f" * 64] * 4,
        **spans_of(range(4)),
        "label": [0, 0, 1, 1],
        "score": [0.1, 0.2, 0.7, 0.9],
        "held_out": [None] * 4,
    }
    write_table(scorer.path / "probing_scores.parquet", schema.PROBING_SCORES, scores)
    run.inputs |= {"choice": choice, "table": table, "scorer": scorer}


def put_pictures(run: Run, *, layers: tuple[int, ...] = (0, 2, 3), note: str = "") -> None:
    """Both pictures of each of these layers, of five rows; layer 2 is the chosen one."""
    folder = run.folder("projection")
    columns: dict[str, list[Any]] = {name: [] for name in schema.PROJECTIONS.names}
    pictures = []
    for layer in layers:
        for method in ("pca", "tsne"):
            columns["what"] += [f"layer {layer}"] * 5
            columns["method"] += [method] * 5
            columns["video_id"] += ["b/train"] * 5
            columns["segment"] += range(5)
            columns["label"] += [0, 0, 0, 1, 1]
            columns["x"] += [0.0, 1.0, 2.0, 8.0, 9.0]
            columns["y"] += [0.0, -1.0, 0.5, 3.0, 3.5]
            how: dict[str, Any] = {"explained": [0.75, 0.125]}
            if method == "tsne":
                how = {"kl": 0.25, "iterations": 1000, "perplexity": 1.333}
            pictures.append({"what": f"layer {layer}", "method": method, **how})
    write_table(folder.path / "projections.parquet", schema.PROJECTIONS, columns)
    record = {
        "samples": 5, "rows": 16, "seed": 0, "chosen": {"layer": 2}, "pictures": pictures,
        "notes": [note] if note else [],
    }  # fmt: skip
    write_json(folder.path / "projection.json", record)
    run.inputs["pictures"] = folder


def put_threshold(run: Run) -> None:
    folder, kappas = run.folder("threshold"), [-1.0, 0.2, 3.0]
    columns = {
        "kappa": kappas, "threshold": [0.02, 0.5, 1.62], "precision": [0.5, 0.8, None],
        "recall": [1.0, 0.75, 0.0], "f1": [0.667, 0.774, 0.0], "normal_above": [1.0, 0.1, 0.0],
        "alarms_per_hour": [2.0, 4.0, 0.0],
    }  # fmt: skip
    write_table(folder.path / "sensitivity.parquet", schema.SENSITIVITY, columns)
    run.inputs["threshold"] = folder


def make_run(root: Path) -> Run:
    """Two test videos, a probing video, an unlabelled one, one that failed; everything is there."""
    made = Run(root)
    made.add_video("a/fight.01", [0.1, 0.9, 0.2], intervals=[[30, 48]])
    made.add_video("a/walk", [0.1, 0.6, 0.2], label=0, class_name="Normal")
    made.add_video("b/train", [0.9], split="train", subset="probing")
    made.add_video("c/camera", [0.3], split="", label=None, class_name="")
    made.videos.append(
        {"video_id": "d/broken", "split": "test", "label": 1, "class": "Fight", "subset": "", "intervals": []}
    )  # fmt: skip
    made.explain("a/fight.01", "Two people fight.")
    made.run = {
        "name": "first", "labels": "video",
        "sections": {"index": {"kind": "folder"}, "localize": {"kappa": 0.2125}},
        "backbone": {"model": "tiny", "identity": "f00d", "dtype": "float32", "attention": "sdpa"},
        "failed": [
            {"video_id": "d/broken", "stage": "decode", "error_class": "ItemError", "message": "cut short"}
        ],
    }  # fmt: skip
    put_metrics(made)
    put_probe(made)
    put_threshold(made)
    return made
