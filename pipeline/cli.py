"""The command line: thin commands, each a few lines over the package that does the work.

Only click is imported here; a command imports what it needs when it runs, so that `--help` is
instant and `status` never waits for a model library.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.commands.backbone import backbone
from pipeline.commands.compare import compare, sweep
from pipeline.commands.data import check, init
from pipeline.commands.options import (
    BUNDLE,
    CONFIG,
    CONFIG_OF_RUN,
    DAMAGED,
    INTERRUPTED,
    JSON,
    OK,
    SET,
    SOME_FAILED,
    STOPPED,
    USAGE,
    WORK_FOUND,
    fail,
    print_value,
    settings_of,
    world_of,
)
from pipeline.commands.scores import evaluate_scores
from pipeline.commands.store import cache_group


class Guarded(click.Group):
    """A group whose commands end with a clear message and the documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn every known error into its message and exit code."""
        from cache.errors import ConfigError, HiprobeError, StoreError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            code = getattr(stop, "exit_code", INTERRUPTED)
            fail("stopped: what is committed stays, nothing half-made is visible", code)
        except ConfigError as error:
            fail(str(error), USAGE)
        except StoreError as error:
            fail(str(error), DAMAGED)
        except HiprobeError as error:
            fail(str(error), STOPPED)
        except OSError as error:
            from pipeline.room import is_full, text_for_place

            if not is_full(error):
                raise
            fail(text_for_place(error), STOPPED)
        except ModuleNotFoundError as error:
            from pipeline.packages import MODELS, missing

            package = (error.name or "").partition(".")[0]
            if package not in MODELS:
                raise
            fail(missing(f"hiprobe {ctx.invoked_subcommand}", [package]), USAGE)


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hiprobe")
def main() -> None:
    """Video anomaly detection by probing a frozen multimodal LLM, stage by stage.

    Exit codes: 0 done; 1 the run cannot go on; 2 wrong usage or configuration; 3 finished, some
    items failed; 4 `plan --check` found work; 5 the store is damaged; 130, 143 stopped by a signal.
    """


@main.command(short_help="The whole pipeline on synthetic videos; nothing to download.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True
)
@click.option("--seed", default=0, show_default=True, help="Seed of the videos.")
def demo(out: Path, seed: int) -> None:
    """Render synthetic videos, probe the small backbone that comes along, run every stage."""
    from pipeline.demonstration import demonstrate

    sys.exit(SOME_FAILED if demonstrate(out, seed, click.echo) else OK)


@main.command()
@CONFIG_OF_RUN
@BUNDLE
@SET
@click.option("--check", is_flag=True, help="Exit with 4 where there is work.")
@JSON
def plan(
    config: Path | None,
    bundle: Path | None,
    overrides: tuple[str, ...],
    check: bool,
    as_json: bool,
) -> None:
    """Say what would run, and why."""
    from pipeline.view import plan_text, plan_value

    world, store = world_of(config, overrides, bundle)
    value = plan_value(world, store)
    print_value(value, plan_text, as_json)
    if any(space["short"] for space in value["space"]):
        sys.exit(STOPPED)
    sys.exit(WORK_FOUND if check and (value["work"] or value["to_digest"]["files"]) else OK)


@main.command()
@CONFIG_OF_RUN
@BUNDLE
@SET
@click.option("--until", default="", metavar="STAGE", help="Stop after this stage.")
@click.option("--only", default="", metavar="STAGE", help="Run this stage alone.")
@click.option("--select", default="", metavar="GLOB", help="Only videos whose id matches.")
@click.option("--limit", default=0, help="Only so many videos.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--rehash", is_flag=True, help="Digest every source file anew.")
@click.option("--workers", type=int, help="Worker processes of a local Dask cluster.")
@click.option("--scheduler", default="", metavar="ADDR", help="A running Dask scheduler.")
@click.option("--even-if-short", is_flag=True, help="Begin where the disk is too small, too.")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def run(
    config: Path | None,
    bundle: Path | None,
    overrides: tuple[str, ...],
    until: str,
    only: str,
    select: str,
    limit: int,
    retry_failed: bool,
    rehash: bool,
    workers: int | None,
    scheduler: str,
    even_if_short: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make everything that is missing, and nothing else."""
    from pipeline.asked import Options, check_stage
    from pipeline.gather import Choices
    from pipeline.progress import Progress
    from pipeline.run import run as run_pipeline
    from pipeline.view import summary_text, summary_value

    check_stage(until, "--until")
    check_stage(only, "--only")
    given = [f"run.workers={workers}"] if workers is not None else []
    given += [f"run.scheduler={json.dumps(scheduler)}"] if scheduler else []
    settings = settings_of(config, bundle, (*overrides, *given))
    choices = Choices(select, limit, retry_failed, rehash)
    summary = run_pipeline(
        settings, Options(until, only, choices, even_if_short), Progress(quiet=quiet)
    )
    if as_json:
        click.echo(json.dumps(summary_value(summary), indent=2))
    else:
        click.echo(summary_text(summary))
        click.echo(f"results: {settings.results}")
    sys.exit(SOME_FAILED if summary.failures else OK)


@main.command(short_help="Say what is fresh, stale, missing and failed, by stage.")
@CONFIG_OF_RUN
@BUNDLE
@SET
@JSON
def status(
    config: Path | None, bundle: Path | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Say, for each stage, what is fresh, stale, missing and failed."""
    from pipeline.view import status_text, status_value

    world, _ = world_of(config, overrides, bundle)
    print_value(status_value(world), status_text, as_json)


@main.command(short_help="Say why a stage, or one video of it, runs again.")
@CONFIG
@click.argument("stage")
@click.argument("video", required=False)
@SET
@JSON
def why(
    config: Path, stage: str, video: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Say which field or input makes a stage, or one video of it, run again."""
    from pipeline.asked import check_stage
    from pipeline.plan import plan_all
    from pipeline.record import read_previous
    from pipeline.why import explain_item, reasons
    from pipeline.world import DATASET

    check_stage(stage, "why")
    world, store = world_of(config, overrides)
    plans = plan_all(world)
    found = plans[stage]
    previous = read_previous(world.config.results, stage)
    if found.off:
        lines = [f"{stage} is not part of this run: {found.off}"]
    elif video or found.node.item == "dataset":
        lines = explain_item(found, world, plans, previous, store, video or DATASET)
    else:
        told = reasons(found, world, plans, previous, store)
        lines = [f"{stage}: {r.items} items: {r.text}" for r in told]
        lines = lines or [f"{stage}: all {len(found.digests)} items are fresh"]
    print_value({"stage": stage, "lines": lines}, lambda value: "\n".join(value["lines"]), as_json)


@main.command(short_help="Print the metrics, beside what labels alone give.")
@CONFIG_OF_RUN
@BUNDLE
@JSON
def show(config: Path | None, bundle: Path | None, as_json: bool) -> None:
    """Print the metrics of a run beside the label-only baselines."""
    from cache.errors import ConfigError
    from pipeline.metrics import metrics_text, selection_text
    from pipeline.outputs import read_metrics, read_selection

    settings = settings_of(config, bundle, ())
    metrics, selection = read_metrics(settings.results), read_selection(settings.results)
    if metrics is None:
        raise ConfigError(
            f"{settings.results} holds no metrics.json: `hiprobe run` makes it where test "
            "videos have labels"
        )
    print_value(metrics, metrics_text, as_json)
    if selection is not None and not as_json:
        click.echo(selection_text(selection))


@main.command()
@CONFIG_OF_RUN
@BUNDLE
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(config: Path | None, bundle: Path | None, open_it: bool) -> None:
    """Bring the report up to date and print where it is."""
    from cache.errors import ConfigError
    from pipeline.asked import Options
    from pipeline.progress import Progress
    from pipeline.run import run as run_pipeline

    settings = settings_of(config, bundle, ())
    run_pipeline(settings, Options(only="report"), Progress())
    path = settings.results / "report.html"
    if not path.exists():
        raise ConfigError("no report yet: `hiprobe run` makes it once scores exist")
    click.echo(path)
    if open_it:
        click.launch(path.as_uri())


main.add_command(init)
main.add_command(check)
main.add_command(backbone)
main.add_command(cache_group)
main.add_command(evaluate_scores)
main.add_command(compare)
main.add_command(sweep)
