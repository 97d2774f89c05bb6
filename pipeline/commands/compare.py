"""`hiprobe compare` and `hiprobe sweep`: runs beside one another, and beside what was published."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.commands.options import JSON, OK, SET, SOME_FAILED, print_value


@click.command(short_help="Set runs side by side, with p-values.")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN RUN ...")
@JSON
def compare(runs: tuple[Path, ...], as_json: bool) -> None:
    """Print the figures of runs side by side, with their differences to the first.

    RUN is a configuration file, or a folder of results (of a run, of a variant, or of
    `evaluate-scores --out`). p is that of a paired bootstrap over the test videos, where both runs
    were evaluated on the same videos, labels, seed and number of replicates.
    """
    from pipeline.side_by_side import compare_text, compare_value, open_runs

    print_value(compare_value(open_runs(runs)), compare_text, as_json)


@click.command(short_help="Run a table of experiments, beside what was published.")
@click.argument("file", type=click.Path(path_type=Path))
@SET
@click.option("--row", "rows", multiple=True, metavar="GLOB", help="Only rows of this name.")
@click.option("--column", default="", metavar="NAME", help="Only this column.")
@click.option(
    "--vary",
    multiple=True,
    metavar="A.B=C,D",
    help="Of a run configuration: every combination of these values.",
)
@click.option("--workers", type=int, help="Worker processes of a local Dask cluster.")
@click.option("--dry-run", is_flag=True, help="Say what each row would make; run nothing.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the table here too, .parquet or .csv."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def sweep(
    file: Path,
    overrides: tuple[str, ...],
    rows: tuple[str, ...],
    column: str,
    vary: tuple[str, ...],
    workers: int | None,
    dry_run: bool,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a family of experiments and print its table: published, ours, and the difference.

    FILE is a family (experiments/README.md says what is in one), or a run configuration with --vary.
    All rows share one store per data set: each makes only what its fields change.
    """
    from cache.errors import ConfigError
    from pipeline.experiments import is_family

    given = [*overrides, *([f"run.workers={workers}"] if workers is not None else [])]
    if is_family(file):
        if vary:
            raise ConfigError("--vary is for run configurations: a family has its rows in its file")
        _sweep_family(file, given, rows, column, dry_run, out, quiet, as_json)
        return
    if not vary or rows or column or dry_run or out:
        raise ConfigError(
            f"{file} is a run configuration, not a family of experiments: give --vary, and neither "
            "--row, --column, --dry-run nor --out"
        )
    _sweep_vary(file, given, vary, quiet, as_json)


def _sweep_family(
    file: Path,
    overrides: list[str],
    rows: tuple[str, ...],
    column: str,
    dry_run: bool,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from pipeline.experiments import load_family
    from pipeline.progress import Progress
    from pipeline.sweep import prepare
    from pipeline.sweep import sweep as run_sweep
    from pipeline.sweep_plan import foresee, work_text
    from pipeline.sweep_table import check_out, sweep_text, sweep_value, write_beside, write_sweep

    if out is not None:
        check_out(out)
    family = load_family(file)
    runs = prepare(family, overrides, rows, column)
    if dry_run:
        works = foresee(runs)
        value = [work.value() for work in works]
        click.echo(json.dumps(value, indent=2) if as_json else work_text(works))
        return
    cells = run_sweep(runs, Progress(quiet=quiet))
    # A part does not take the place of the whole table.
    ran = {c.column.base for c in cells if c.ours is not None and not rows and not column}
    written = write_beside(family, cells, [runs.bases[base].results for base in sorted(ran)])
    if out is not None:
        write_sweep(out, cells)
        written.append(out)
    if as_json:
        click.echo(json.dumps(sweep_value(family, cells), indent=2))
    else:
        click.echo(sweep_text(family, cells))
        for path in written:
            click.echo(f"table: {path}")
    sys.exit(SOME_FAILED if any(cell.problem for cell in cells) else OK)


def _sweep_vary(
    file: Path, overrides: list[str], vary: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    from pipeline.comparison import comparison_text
    from pipeline.config import load_config
    from pipeline.progress import Progress
    from pipeline.vary import run_vary, variants_of

    variants = variants_of(vary)
    found, path = run_vary(load_config(file, overrides), variants, Progress(quiet=quiet))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
    else:
        click.echo(f"{comparison_text(found)}\ntable: {path}")
    sys.exit(SOME_FAILED if any(row.problem for row in found) else OK)
