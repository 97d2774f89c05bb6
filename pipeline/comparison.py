"""A run beside its variants and what labels alone would give: one table, on disk and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cache import sums
from cache.digest import read_json
from cache.keys import canonical
from manifests.comparisons import COMPARISON
from manifests.table import read_table, write_table
from pipeline.config import Config
from pipeline.metrics import BASELINES, percent
from pipeline.outputs import read_metrics
from pipeline.variants import VariantRun
from pipeline.view import table
from stages.probes.choice import choice_of

FILE = "variants.parquet"
"""Where the table lies in the results of the base run."""
TIOU = "0.3"
"""The temporal IoU of the column `event_f1`, as metrics.json names it."""
HEAD = ("", "AUC", "AP", "within", "thresh.", f"F1@{TIOU}", "alarms/h", "layer", "")
LEGEND = (
    "* the base run; within: mean AUC within a video; thresh.: AUC of the thresholded curve;\n"
    f"F1@{TIOU}: of the intervals, at that temporal IoU; alarms/h: false alarms per hour"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row; the columns of `manifests.comparisons.COMPARISON` say what each field is."""

    kind: Literal["base", "variant", "baseline"]
    name: str
    text: str
    overrides: str = "{}"
    layer: int | None = None
    heads: str = ""
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    ap: float | None = None
    within_video_auc: float | None = None
    auc_thresholded: float | None = None
    event_f1: float | None = None
    false_alarms_per_hour: float | None = None
    videos: int | None = None
    missing: int | None = None
    problem: str = ""


def compare(runs: Sequence[VariantRun]) -> list[Row]:
    """The rows of these runs, the base first, and of the base's label-only baselines."""
    rows = [_row_of(one) for one in runs]
    metrics = read_metrics(runs[0].config.results)
    return rows + (_baselines(metrics) if metrics is not None else [])


def write_comparison(results: Path, rows: Sequence[Row]) -> Path:
    """Write the table into the results of the base run; returns its path."""
    values = [{"place": place, **asdict(row)} for place, row in enumerate(rows)]
    columns = {name: [value[name] for value in values] for name in COMPARISON.names}
    write_table(results / FILE, COMPARISON, columns)
    sums.note(results / FILE)
    return results / FILE


def read_comparison(results: Path) -> list[Row]:
    """The rows that `write_comparison` wrote. Raises FileNotFoundError, DamagedArtifact."""
    found = read_table(sums.require(results / FILE), COMPARISON).to_pylist()
    return [Row(**{name: value for name, value in row.items() if name != "place"}) for row in found]


def comparison_text(rows: Sequence[Row]) -> str:
    """The table as a person reads it; what failed is told below it."""
    lines = [table(HEAD, [_cells(row) for row in rows]), LEGEND, *_interval(rows[0])]
    videos = {row.videos for row in rows if row.videos is not None}
    if len(videos) > 1:
        lines.append("NOT comparable throughout: the rows rest on other test videos:")
        lines += [f"  {row.name}: {row.videos} test videos" for row in rows if row.videos]
    lines += [f"FAILED {row.name}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)


def _interval(base: Row) -> list[str]:
    """How far the base's AUC can be trusted: what the differences have to be seen against."""
    if base.auc_low is None or base.auc_high is None:
        return []
    return [
        f"95 % interval of the base run's AUC over {base.videos} test videos: "
        f"{percent(base.auc_low)} to {percent(base.auc_high)}; of every row in {FILE}"
    ]


def _row_of(one: VariantRun) -> Row:
    variant = one.variant
    row: dict[str, Any] = {
        "kind": "variant" if variant.overrides else "base",
        "name": variant.name,
        "text": variant.text,
        "overrides": canonical(dict(variant.overrides)),
        "problem": one.problem,
    }
    metrics = read_metrics(one.config.results) if one.evaluated else None
    if metrics is None:
        return Row(**row)
    return Row(**row, **read_by(one.config), **_figures(metrics))


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics.json says, by column."""
    band = metrics["bootstrap"]["auc"] or {}
    return {
        "auc": metrics["auc"],
        "auc_low": band.get("low"),
        "auc_high": band.get("high"),
        "ap": metrics["ap"],
        "within_video_auc": metrics["macro_within_video_auc"],
        "auc_thresholded": metrics["auc_thresholded"],
        "event_f1": metrics["events"].get(TIOU, {}).get("f1"),
        "false_alarms_per_hour": metrics["false_alarms_per_hour"],
        "videos": metrics["counts"]["videos"],
        "missing": metrics["missing"]["count"],
    }


def read_by(config: Config) -> dict[str, Any]:
    """The layer or the heads that the scorer of a run reads, as its record says, by column."""
    folder = config.path("run", "scorer") or config.results / "scorer"
    choice = choice_of(read_json(folder / "scorer.json"))
    heads = " ".join(f"{layer}.{head}" for layer, head in choice.heads)
    return {"layer": choice.layer, "heads": heads}


def _baselines(metrics: Mapping[str, Any]) -> list[Row]:
    return [
        Row("baseline", name, BASELINES.get(name, name), auc=found["auc"], ap=found["ap"])
        for name, found in metrics["baselines"].items()
    ]


def _cells(row: Row) -> list[str]:
    marks = {"base": f"* {row.name}", "variant": row.name, "baseline": "labels only"}
    alarms = row.false_alarms_per_hour
    heads = len(row.heads.split())
    return [
        marks[row.kind],
        *(percent(v) for v in (row.auc, row.ap, row.within_video_auc, row.auc_thresholded)),
        percent(row.event_f1),
        "-" if alarms is None else f"{alarms:.1f}",
        f"{heads} heads" if heads else "-" if row.layer is None else str(row.layer),
        row.text,
    ]
