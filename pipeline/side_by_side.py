"""`hiprobe compare`: runs side by side, what differs, and whether the test videos can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import sums
from cache.errors import ConfigError
from pipeline.config import load_config
from pipeline.metrics import percent
from pipeline.outputs import read_metrics
from pipeline.view import table

REPLICATES_FILE = "replicates.parquet"
PAIRED = ("auc", "ap", "macro_within_video_auc")
"""Figures whose difference gets a p-value."""
FIRST = ("auc", "ap", "ap_trapezoid", "auc_thresholded", "ap_thresholded", *PAIRED[2:])
"""Figures that are shown before the others."""
OTHER = frozenset(
    ("absent", "baselines", "bootstrap", "clipped", "counts", "frame_counts", "labels", "missing")
) | {"scores", "threshold", "undefined"}
"""What metrics.json says beside the figures of a run."""
NOT_SHOWN = ("per_class",)
"""Figures that only the JSON value has."""
DECIMALS = {"false_alarms_per_hour": 1, "calibration": 4}
"""Figures that are no shares, with the places that are shown; the rest is percent."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A run that has figures."""

    name: str
    results: Path
    metrics: Mapping[str, Any]


def open_runs(paths: Sequence[Path]) -> list[Evaluated]:
    """The runs of these configuration files and results folders, under names that differ.

    Raises ConfigError for fewer than two, and where there is none, or none with figures.
    """
    if len(paths) < 2:
        raise ConfigError("compare: give two runs or more: configuration files, results folders")
    runs = [_open(path) for path in paths]
    names = [run.name for run in runs]
    return [
        Evaluated(str(path) if names.count(run.name) > 1 else run.name, run.results, run.metrics)
        for run, path in zip(runs, paths, strict=True)
    ]


def _open(path: Path) -> Evaluated:
    if path.is_dir():
        results, name = path.resolve(), path.resolve().name
    else:
        settings = load_config(path)
        results, name = settings.results, settings.run.name
    metrics = read_metrics(results)
    if metrics is None:
        raise ConfigError(
            f"compare: {path} has no metrics.json (looked in {results}); `hiprobe run` makes it "
            "where test videos have labels, `hiprobe evaluate-scores --out` for scores of others"
        )
    return Evaluated(name, results, metrics)


def compare_value(runs: Sequence[Evaluated]) -> dict[str, Any]:
    """All figures of all runs, their differences to the first, and p-values, as a JSON value."""
    first, *others = runs
    reasons = [unpaired(first, other) for other in others]
    values = [dict(_figures(run.metrics)) for run in runs]
    p = {
        name: [None if why else _p_value(first, other, name) for other, why in zip(others, reasons, strict=True)]
        for name in PAIRED
    }  # fmt: skip
    figures = []
    for name in dict.fromkeys((*FIRST, *(name for found in values for name in found))):
        row = [found.get(name) for found in values]
        if any(value is not None for value in row):
            differences = [_minus(value, row[0]) for value in row[1:]]
            shown = p.get(name, [None] * len(others))
            figures.append({"name": name, "values": row, "differences": differences, "p": shown})
    return {
        "runs": [_about(run) for run in runs],
        "figures": figures,
        "replicates": first.metrics["bootstrap"]["replicates"],
        "unpaired": {run.name: why for run, why in zip(others, reasons, strict=True) if why},
    }


def unpaired(first: Evaluated, other: Evaluated) -> str:
    """Why the replicates of two runs do not belong together, or nothing where they do."""
    mine, its = (run.metrics["bootstrap"] for run in (first, other))
    for name, text in (
        ("labels", "another view of the labels"),
        ("replicates", "another number of replicates (evaluate.bootstrap)"),
        ("seed", "another seed (evaluate.seed)"),
    ):
        pair = (first.metrics, other.metrics) if name == "labels" else (mine, its)
        one, two = (found.get(name) for found in pair)
        if one != two:
            return f"{text}: {one} and {two}"
    if mine.get("sample") != its.get("sample"):
        return "other test videos, or others of their frames or intervals"
    if not mine["replicates"]:
        return "no replicates were asked for (evaluate.bootstrap = 0)"
    for run in (first, other):
        if not (run.results / REPLICATES_FILE).exists():
            return f"{run.name} has no {REPLICATES_FILE}: evaluate it again"
    return ""


def compare_text(value: Mapping[str, Any]) -> str:
    """The runs as a table for people: a column for each, its difference and p after it."""
    first, *others = value["runs"]
    head = ["", first["name"]]
    for run in others:
        head += [run["name"], "difference", "p"]
    rows = [
        _cells(found) for found in value["figures"] if found["name"].split(".")[0] not in NOT_SHOWN
    ]
    lines = [table(head, rows)]
    lines.append(
        f"differences are to {first['name']}, in percentage points where figures are shares"
    )
    if any(p is not None for found in value["figures"] for p in found["p"]):
        lines.append(
            f"p: two-sided, paired bootstrap over the test videos, {value['replicates']} "
            f"replicates: no less than {2 / (value['replicates'] + 1):.2g}"
        )
    lines += [f"no p of {name}: {why}" for name, why in value["unpaired"].items()]
    lines += [text for run in value["runs"] if (text := incomplete_text(run))]
    return "\n".join(lines)


def _cells(found: Mapping[str, Any]) -> list[str]:
    name = found["name"]
    first, *others = found["values"]
    cells = [name, _shown(name, first)]
    for value, difference, p in zip(others, found["differences"], found["p"], strict=True):
        cells += [_shown(name, value), signed(difference, name), "" if p is None else f"{p:.3g}"]
    return cells


def _shown(name: str, value: float | None) -> str:
    places = DECIMALS.get(name.split(".")[0])
    if places is None:
        return percent(value)
    return "-" if value is None else f"{value:.{places}f}"


def signed(value: float | None, name: str = "") -> str:
    """A difference with its sign: of shares in percentage points."""
    if value is None:
        return ""
    places = DECIMALS.get(name.split(".")[0])
    return f"{100 * value:+.2f}" if places is None else f"{value:+.{places}f}"


def _about(run: Evaluated) -> dict[str, Any]:
    return {
        "name": run.name,
        "videos": run.metrics["counts"]["videos"],
        "labels": run.metrics.get("labels"),
        **incomplete(run.metrics),
    }


def incomplete(metrics: Mapping[str, Any]) -> dict[str, int]:
    """How many test videos are not in the figures: that failed, and that were never there."""
    absent = metrics.get("absent", {}).get("test", {"count": 0})
    return {"missing": int(metrics["missing"]["count"]), "absent": int(absent["count"])}


def incomplete_text(about: Mapping[str, Any]) -> str:
    """A sentence about a test set that is not complete; nothing where it is."""
    if not about["missing"] and not about["absent"]:
        return ""
    return (
        f"NOT the whole test set: {about['name']}: {about['videos']} videos; {about['missing']} "
        f"failed, {about['absent']} that the lists name were not there"
    )


def _figures(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | None]]:
    """Every figure of metrics.json by its dotted name; counts, lists and words are none."""
    for name, value in found.items():
        if not before and name in OTHER:
            continue
        if isinstance(value, Mapping):
            yield from _figures(value, f"{before}{name}.")
        elif value is None or isinstance(value, float):
            yield f"{before}{name}", value


def _minus(value: float | None, first: float | None) -> float | None:
    return None if value is None or first is None else value - first


def _p_value(first: Evaluated, other: Evaluated, name: str) -> float | None:
    from manifests.schema import REPLICATES
    from manifests.table import read_table
    from stages.probes.paired import paired_p_value

    one, two = (
        read_table(sums.require(run.results / REPLICATES_FILE), REPLICATES).column(name).to_numpy()
        for run in (first, other)
    )
    return paired_p_value(one, two)
