"""`python -m tests.equality`: what every family differs in from the library, as a table.

The numbers are those that tests/stages/backbones/test_equality.py holds to their limits. Ends with
1 where one of them is beyond.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from tests import oracle
from tests.stages.backbones import measures
from tests.stages.backbones.checkpoints.registry import SMALL
from tests.stages.backbones.measures import MEASURES, Subject

PREPARATION = "preparation"
Column = dict[str, float]


def main() -> int:
    """Measure and print; the exit code."""
    with tempfile.TemporaryDirectory() as name:
        subjects = {small: Subject(Path(name) / small) for small in SMALL}
        for small, subject in subjects.items():
            SMALL[small].build(subject.folder)
        prepared = _preparation(subjects)
        columns = {
            small: {**prepared.get(small, {}), **_measured(subject)}
            for small, subject in subjects.items()
        }
    limits = {PREPARATION: 0.0} | {name: measure.limit for name, measure in MEASURES.items()}
    print("\n".join(_lines(columns, limits)))
    if not oracle.available():
        print(f"\n{PREPARATION} was not compared: {oracle.REASON}")
    beyond = [
        f"{name}: {row}"
        for name, column in columns.items()
        for row, value in column.items()
        if not value <= limits[row]
    ]
    print(*(f"\nbeyond its limit: {each}" for each in beyond), sep="", end="\n" if beyond else "")
    return 1 if beyond else 0


def _preparation(subjects: dict[str, Subject]) -> dict[str, Column]:
    """Per checkpoint, where the library has a processor and the oracle is installed."""
    if not oracle.available():
        return {}
    asking = {name: small.ask for name, small in SMALL.items() if small.ask}
    requests = [(subjects[name].folder, measures.requests(ask)) for name, ask in asking.items()]
    answers = dict(zip(asking, oracle.ask_all(requests), strict=True))
    return {
        name: {PREPARATION: measures.preparation(subjects[name].sdpa, found)}
        for name, found in answers.items()
    }


def _measured(subject: Subject) -> Column:
    return {name: measure.of(subject) for name, measure in MEASURES.items()}


def _lines(columns: dict[str, Column], limits: dict[str, float]) -> list[str]:
    """A Markdown table: a row per measure, a column per checkpoint."""
    versions = (
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}, CPU ({torch.backends.cpu.get_cpu_capability()})"
    )
    return [
        f"{versions}; max |difference| / max |value|, but for preparation, which is absolute.",
        "",
        "| | limit | " + " | ".join(columns) + " |",
        "|---|" + "---|" * (len(columns) + 1),
        *(
            f"| {row} | {_cell(limit)} | "
            + " | ".join(_cell(column.get(row)) for column in columns.values())
            + " |"
            for row, limit in limits.items()
        ),
    ]


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


if __name__ == "__main__":
    sys.exit(main())
