"""`hiprobe sweep`: a family of experiments, each cell of its table from a run or empty."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.errors import ConfigError
from cache.keys import canonical
from pipeline.comparison import read_by
from pipeline.config import Config, load_config
from pipeline.experiments import Column, Family, Row
from pipeline.outputs import read_metrics
from pipeline.progress import Progress
from pipeline.side_by_side import incomplete
from pipeline.task import Outcome
from pipeline.variants import Variant, VariantRun, try_variant, variant_config

SCORER = "run.scorer"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run says of one row; figures in percent."""

    row: Row
    column: Column
    metric: str
    published: float | None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    """Its 95 % interval over videos, for figures that are bootstrapped."""
    layer: int | None = None
    heads: str = ""
    videos: int | None = None
    missing: int | None = None
    absent: int | None = None
    problem: str = ""
    """Why there is no figure, or what failed in the run."""
    results: Path | None = None
    """Where the results of its run lie; None where there is no run."""
    built: int = 0
    """Artifacts that its run made: 0 where it shares the run of a row above."""

    @property
    def difference(self) -> float | None:
        """Ours less published, in points."""
        if self.ours is None or self.published is None:
            return None
        return self.ours - self.published


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a family: the configuration of every row that runs, for every column."""

    family: Family
    bases: Mapping[Path, Config]
    columns: tuple[Column, ...]
    """The columns that are shown."""
    rows: tuple[Row, ...]
    """The rows that are shown."""
    problems: Mapping[Path, str] = field(default_factory=dict)
    """Why a base cannot run here."""


def prepare(
    family: Family, overrides: Sequence[str], rows: Sequence[str] = (), column: str = ""
) -> Runs:
    """Load the bases, and check every row with each of them before any work.

    `rows` are patterns of names, `column` a name; without any, all. Raises ConfigError for a pattern
    or name that meets nothing, a base or a value in a row that cannot be right.
    """
    columns = tuple(c for c in family.columns if column in ("", c.name))
    if not columns:
        known = ", ".join(c.name for c in family.columns)
        raise ConfigError(f"--column {column}: the columns of {family.name} are {known}")
    for pattern in rows:
        if not fnmatch.filter([row.name for row in family.rows], pattern):
            known = ", ".join(row.name for row in family.rows)
            raise ConfigError(f"--row {pattern}: no row matches; {family.name} has {known}")
    chosen = tuple(
        row
        for row in family.rows
        if not rows or any(fnmatch.fnmatchcase(row.name, pattern) for pattern in rows)
    )
    bases = {c.base: load_config(c.base, overrides) for c in family.columns}
    places: dict[Path, Path] = {}
    for path, config in bases.items():
        if places.setdefault(config.results, path) != path:
            raise ConfigError(
                f"{path} and {places[config.results]} have their results in one place, "
                f"{config.results}: give each a run.name of its own"
            )
        for row in family.rows:
            variant_config(config, _variant(row), family.name)
    problems = {path: why for path, config in bases.items() if (why := _cannot_run(config))}
    return Runs(family, bases, columns, chosen, problems)


def _cannot_run(config: Config) -> str:
    """Why a base cannot run on this machine, as far as that is seen at once; nothing where it may."""
    videos = config.path("data", "videos")
    if videos is not None and not videos.is_dir():
        return (
            f"{config.origin}: data.videos: there is no folder {videos}; say where the videos are"
        )
    return ""


def _variant(row: Row, scorer: str = "") -> Variant:
    overrides = {**row.overrides, SCORER: scorer} if scorer else row.overrides
    return Variant(row.name, row.text, overrides)


def asked(runs: Runs) -> Iterator[tuple[Row, Column]]:
    """Every cell that is shown, row by row."""
    for row in runs.rows:
        for column in runs.columns:
            yield row, column


def source_of(runs: Runs, row: Row, column: Column) -> Column | None:
    """The column whose run fits the scorer for a cell; None where its own run does."""
    if not row.scorer or row.scorer == column.name:
        return None
    return next(c for c in runs.family.columns if c.name == row.scorer)


def cell_config(runs: Runs, row: Row, column: Column) -> tuple[Variant, Config]:
    """The variant of a cell and its configuration, whether or not its scorer is there.

    Rows of the family that differ in nothing but the figure they show, or whose scorer is the
    column's own, share one run: that of the first of them, whichever rows are asked for.
    """
    base, scorer = runs.bases[column.base], ""
    source = source_of(runs, row, column)
    row = next(
        other
        for other in runs.family.rows
        if not other.only_published
        and other.overrides == row.overrides
        and source_of(runs, other, column) == source
    )
    if source is not None:
        folder = cell_config(runs, row, source)[1].results / "scorer"
        # Relative: results that are moved together still find one another.
        scorer = Path(os.path.relpath(folder, base.folder)).as_posix()
    variant = _variant(row, scorer)
    return variant, variant_config(base, variant, runs.family.name)


def sweep(runs: Runs, progress: Progress | None = None) -> list[Cell]:
    """Bring every run of the family up to date, and read each cell from its own run.

    What stops one run leaves its cell empty, with the reason, and the next one goes on.
    """
    progress = progress or Progress(quiet=True)
    sweeper = _Sweeper(runs)
    cells = list(asked(runs))
    progress.start("sweep", {f"{row.name} {column.name}": 1.0 for row, column in cells})
    found = []
    told: set[tuple[str, str]] = set()
    try:
        for row, column in cells:
            cell = sweeper.cell(row, column)
            said = (column.name, cell.problem)
            if cell.problem and said not in told:  # what holds for a column is said once
                told.add(said)
                progress.say(f"{row.name}, {column.name}: {cell.problem}")
            status = "failed" if cell.problem else "built"
            progress.update(Outcome(f"{row.name} {column.name}", status))
            found.append(cell)
    finally:
        progress.finish()
    return found


class _Sweeper:
    """Runs what is asked for, each configuration once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._done: dict[tuple[Path, str], VariantRun] = {}
        self._before: dict[Path, list[VariantRun]] = {}
        """Runs over one base: what failed in them is not tried again."""

    def cell(self, row: Row, column: Column) -> Cell:
        metric = self._runs.family.metric(row, column)
        published = row.published.get(column.name)
        if row.only_published:
            return Cell(row, column, metric, published)
        if why := self._runs.problems.get(column.base):
            return Cell(row, column, metric, published, problem=why)
        before = len(self._done)
        done = self._run(row, column)
        built = sum(done.built.values()) if len(self._done) > before else 0
        return Cell(
            row, column, metric, published,
            **_figures(done, metric), results=done.config.results, built=built,
        )  # fmt: skip

    def _run(self, row: Row, column: Column) -> VariantRun:
        """The run of a cell; what fits its scorer goes first."""
        source = source_of(self._runs, row, column)
        lacking = self._without_scorer(row, source) if source else ""
        variant, config = cell_config(self._runs, row, column)
        key = column.base, canonical(dict(variant.overrides))
        if key not in self._done:
            before = self._before.setdefault(column.base, [])
            if lacking:
                self._done[key] = VariantRun(variant, config, problem=lacking)
            else:
                self._done[key] = try_variant(variant, config, before)
                before.append(self._done[key])
        return self._done[key]

    def _without_scorer(self, row: Row, source: Column) -> str:
        """Why there is no scorer of another column, or nothing: it is fitted now."""
        why = self._runs.problems.get(source.base, "")
        if not why:
            fitted = self._run(row, source)
            why = "" if (fitted.config.results / "scorer").is_dir() else fitted.problem
        return f"no scorer of column {source.name}: {why}" if why else ""


def _figures(done: VariantRun, metric: str) -> dict[str, Any]:
    """What a run says, by field of a cell."""
    metrics = read_metrics(done.config.results) if done.evaluated else None
    if metrics is None:
        return {"problem": done.problem or "no figures"}
    ours = figure_of(metrics, metric)
    problem = done.problem
    if ours is None:
        reason = metrics["undefined"].get(metric, "this version of hiprobe does not make it")
        problem = problem or f"{metric} is not defined: {reason}"
    band = metrics["bootstrap"].get(metric) or {}
    return {
        "ours": _percent(ours),
        "low": _percent(band.get("low")),
        "high": _percent(band.get("high")),
        "videos": metrics["counts"]["videos"],
        "problem": problem,
        **incomplete(metrics),
        **read_by(done.config),
    }


def figure_of(metrics: Mapping[str, Any], name: str) -> float | None:
    """A figure of metrics.json by its dotted name."""
    found: Any = metrics
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, float) else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
