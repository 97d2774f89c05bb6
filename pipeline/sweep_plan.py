"""What a family of experiments would make, before anything runs: `hiprobe sweep --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cache.errors import ConfigError
from pipeline.asked import Options
from pipeline.config import Config
from pipeline.experiments import Column, Row
from pipeline.gather import Choices, gather
from pipeline.plan import StagePlan, plan_all
from pipeline.stores import open_store
from pipeline.sweep import Runs, asked, cell_config, source_of
from pipeline.values import check_features
from pipeline.variants import LAST
from pipeline.view import table


@dataclass(frozen=True, slots=True)
class Work:
    """What one cell would make, as far as that is known before anything runs."""

    row: Row
    column: Column
    todo: Mapping[str, int] = field(default_factory=dict)
    """Artifacts whose key is known and that are not there, by stage."""
    first: int = 0
    """Of these, the ones that no cell before makes."""
    waiting: int = 0
    """Items whose key is known only when others are made: they may turn out to be there."""
    problem: str = ""
    """Why it would have no figure."""

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "row": self.row.name,
            "column": self.column.name,
            "todo": dict(self.todo),
            "first": self.first,
            "waiting": self.waiting,
            "problem": self.problem,
        }


def foresee(runs: Runs) -> list[Work]:
    """What every cell would make. Nothing is run, and nothing downloaded."""
    found: list[Work] = []
    seen: set[tuple[str, str]] = set()
    for row, column in asked(runs):
        if not row.only_published:
            found.append(_work(runs, row, column, seen))
    return found


def _work(runs: Runs, row: Row, column: Column, seen: set[tuple[str, str]]) -> Work:
    """The work of one cell; `seen` (stage, key) is what cells before it make, and grows."""
    if why := runs.problems.get(column.base):
        return Work(row, column, problem=why)
    config = cell_config(runs, row, column)[1]
    scorer = config.path("run", "scorer")
    if source_of(runs, row, column) and not (scorer and scorer.is_dir()):
        return Work(row, column, problem=f"needs the scorer that column {row.scorer} is to fit")
    try:
        plans = _plans(config)
    except ConfigError as error:
        return Work(row, column, problem=" ".join(str(error).split()))
    keys = {
        (stage, plan.keys[item])
        for stage, plan in plans.items()
        for item in plan.todo
        if item in plan.keys  # that of the index is not known before the files are digested
    }
    first = len(keys - seen)
    seen |= keys
    return Work(
        row,
        column,
        {stage: len(plan.todo) for stage, plan in plans.items() if plan.todo},
        first,
        sum(len(plan.waiting) for plan in plans.values()),
        plans[LAST].off,
    )


def _plans(config: Config) -> dict[str, StagePlan]:
    """The plans of the stages that a variant runs."""
    world = gather(config, open_store(config), Choices())
    check_features(world)
    wanted = Options(until=LAST)
    return {stage: plan for stage, plan in plan_all(world).items() if wanted.wants(stage)}


def work_text(works: Sequence[Work]) -> str:
    """What a dry run prints."""
    rows = []
    for work in works:
        made = ", ".join(f"{stage} {count}" for stage, count in work.todo.items())
        count = sum(work.todo.values())
        cells = [str(count), str(work.first), str(work.waiting), work.problem or made or "-"]
        rows.append([work.row.name, work.column.name, *cells])
    head = ["row", "column", "to make", "not above", "waiting", "of these stages"]
    return (
        f"{table(head, rows)}\n"
        f"{sum(work.first for work in works)} artifacts are to be made, as far as is known yet; not "
        "above: by no row above; waiting: for others to be made, and may turn out to be there"
    )
