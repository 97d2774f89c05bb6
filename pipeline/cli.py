"""The command line: thin commands, each a few lines over the package that does the work.

Only click is imported here; a command imports what it needs when it runs, so that `--help` is
instant and `status` never waits for a model library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

OK, USAGE, SOME_FAILED, WORK_FOUND, DAMAGED = 0, 2, 3, 4, 5
STOPPED, INTERRUPTED = 1, 130

CONFIG = click.argument("config", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field for this call."
)


class Guarded(click.Group):
    """A group whose commands end with a clear message and the documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn every known error into its message and exit code."""
        from cache.errors import ConfigError, HiprobeError, StoreError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            code = getattr(stop, "exit_code", INTERRUPTED)
            _fail("stopped: what is committed stays, nothing half-made is visible", code)
        except ConfigError as error:
            _fail(str(error), USAGE)
        except StoreError as error:
            _fail(str(error), DAMAGED)
        except HiprobeError as error:
            _fail(str(error), STOPPED)


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hiprobe")
def main() -> None:
    """Video anomaly detection by probing a frozen multimodal LLM, stage by stage.

    Exit codes: 0 done; 1 the run cannot go on; 2 wrong usage or configuration; 3 finished, some
    items failed; 4 `plan --check` found work; 5 the store is damaged; 130, 143 stopped by a signal.
    """


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True
)
@click.option("--seed", default=0, show_default=True, help="Seed of the videos.")
def demo(out: Path, seed: int) -> None:
    """Render synthetic videos, probe the small backbone that comes along, run every stage."""
    from pipeline.demonstration import demonstrate

    sys.exit(SOME_FAILED if demonstrate(out, seed, click.echo) else OK)


@main.group()
def init() -> None:
    """Print a commented configuration for a kind of data set."""


@init.command("folder")
@click.option("--videos", required=True, help="Folder of the videos.")
@click.option("--labels", default="", help="CSV: video,split,label,class,start_frame,end_frame.")
@click.option("--backbone", default="", help="Folder or hub id of the multimodal LLM.")
@click.option("--scorer", default="", help="Folder of a fitted scorer of another run.")
@click.option("--name", default="", help="Name of the run (default: the name of the file).")
def init_folder(videos: str, labels: str, backbone: str, scorer: str, name: str) -> None:
    """A folder of videos of one's own: `hiprobe init folder --videos DIR > run.toml`."""
    from pipeline.initial import folder_config

    click.echo(folder_config(videos, labels, backbone, scorer, name))


@main.command()
@CONFIG
@SET
@click.option("--check", is_flag=True, help="Exit with 4 where there is work.")
@JSON
def plan(config: Path, overrides: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Say what would run, and why."""
    from pipeline.view import plan_text, plan_value

    world, store = _world(config, overrides)
    value = plan_value(world, store)
    _print(value, plan_text, as_json)
    sys.exit(WORK_FOUND if check and (value["work"] or value["to_digest"]["files"]) else OK)


@main.command()
@CONFIG
@SET
@click.option("--until", default="", metavar="STAGE", help="Stop after this stage.")
@click.option("--only", default="", metavar="STAGE", help="Run this stage alone.")
@click.option("--select", default="", metavar="GLOB", help="Only videos whose id matches.")
@click.option("--limit", default=0, help="Only so many videos.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--rehash", is_flag=True, help="Digest every source file anew.")
@click.option("--workers", type=int, help="Worker processes of a local Dask cluster.")
@click.option("--scheduler", default="", metavar="ADDR", help="A running Dask scheduler.")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def run(
    config: Path,
    overrides: tuple[str, ...],
    until: str,
    only: str,
    select: str,
    limit: int,
    retry_failed: bool,
    rehash: bool,
    workers: int | None,
    scheduler: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make everything that is missing, and nothing else."""
    from pipeline.config import load_config
    from pipeline.gather import Choices
    from pipeline.progress import Progress
    from pipeline.run import Options, check_stage
    from pipeline.run import run as run_pipeline
    from pipeline.view import summary_text, summary_value

    check_stage(until, "--until")
    check_stage(only, "--only")
    given = [f"run.workers={workers}"] if workers is not None else []
    given += [f"run.scheduler={json.dumps(scheduler)}"] if scheduler else []
    settings = load_config(config, [*overrides, *given])
    choices = Choices(select, limit, retry_failed, rehash)
    summary = run_pipeline(settings, Options(until, only, choices), Progress(quiet=quiet))
    if as_json:
        click.echo(json.dumps(summary_value(summary), indent=2))
    else:
        click.echo(summary_text(summary))
        click.echo(f"results: {settings.results}")
    sys.exit(SOME_FAILED if summary.failures else OK)


@main.command()
@CONFIG
@SET
@JSON
def status(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say, for each stage, what is fresh, stale, missing and failed."""
    from pipeline.view import status_text, status_value

    world, _ = _world(config, overrides)
    _print(status_value(world), status_text, as_json)


@main.command()
@CONFIG
@click.argument("stage")
@click.argument("video", required=False)
@SET
@JSON
def why(
    config: Path, stage: str, video: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Say which field or input makes a stage, or one video of it, run again."""
    from pipeline.plan import plan_all
    from pipeline.record import read_previous
    from pipeline.run import check_stage
    from pipeline.why import explain_item, reasons
    from pipeline.world import DATASET

    check_stage(stage, "why")
    world, store = _world(config, overrides)
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
    _print({"stage": stage, "lines": lines}, lambda value: "\n".join(value["lines"]), as_json)


@main.command()
@CONFIG
@JSON
def show(config: Path, as_json: bool) -> None:
    """Print the metrics of a run beside the label-only baselines."""
    from cache.errors import ConfigError
    from pipeline.config import load_config
    from pipeline.metrics import metrics_text
    from pipeline.outputs import read_metrics

    settings = load_config(config)
    metrics = read_metrics(settings.results)
    if metrics is None:
        raise ConfigError(
            f"{settings.results} holds no metrics.json: `hiprobe run {config}` makes it where test "
            "videos have labels"
        )
    _print(metrics, metrics_text, as_json)


@main.command()
@CONFIG
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(config: Path, open_it: bool) -> None:
    """Bring the report up to date and print where it is."""
    from cache.errors import ConfigError
    from pipeline.config import load_config
    from pipeline.progress import Progress
    from pipeline.run import Options
    from pipeline.run import run as run_pipeline

    settings = load_config(config)
    run_pipeline(settings, Options(only="report"), Progress())
    path = settings.results / "report.html"
    if not path.exists():
        raise ConfigError(f"no report yet: `hiprobe run {config}` makes it once scores exist")
    click.echo(path)
    if open_it:
        click.launch(path.as_uri())


def _world(config: Path, overrides: tuple[str, ...]) -> tuple[Any, Any]:
    from cache.store import Store
    from pipeline.config import load_config
    from pipeline.gather import Choices, gather
    from pipeline.values import check_features

    settings = load_config(config, overrides)
    store = Store.open(settings.store)
    world = gather(settings, store, Choices())
    check_features(world)
    return world, store


def _print(value: Any, text: Callable[[Any], str], as_json: bool) -> None:
    click.echo(json.dumps(value, indent=2) if as_json else text(value))


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"hiprobe: {message}", err=True)
    sys.exit(code)


@main.group()
def backbone() -> None:
    """Look at a multimodal LLM before it is used."""


@backbone.command("check")
@click.argument("model", metavar="REF")
@click.option("--revision", default="", help="Commit, tag or branch on the hub.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto"
)
@click.option("--attention", type=click.Choice(["sdpa", "eager"]), default="sdpa")
@click.option("--device", default="auto", help="cpu, cuda, cuda:0, ...")
@click.option("--keyframes", type=click.IntRange(1), default=8, show_default=True)
@click.option("--size", "pixels", default="320x240", show_default=True, help="Of the video.")
@JSON
def backbone_check(
    model: str,
    revision: str,
    dtype: str,
    attention: str,
    device: str,
    keyframes: int,
    pixels: str,
    as_json: bool,
) -> None:
    """Describe a checkpoint (a folder or a hub id), say what a segment costs, and run two."""
    from pipeline import backbones
    from stages.backbones.reference import BackboneReference
    from stages.sample import Settings

    frames = backbones.frames_of(Settings(keyframes=keyframes), pixels, backbones.FPS)
    folder = backbones.find_checkpoint(model, revision, lambda text: click.echo(text, err=True))
    reference = BackboneReference(model, revision, dtype, attention, device, "")
    value = backbones.describe(reference, folder, frames)
    if not as_json:
        click.echo(backbones.describe_text(value))
    tried = backbones.try_checkpoint(reference, frames, value)
    _print({**value, "trial": tried}, lambda v: backbones.try_text(v["trial"]), as_json)
    sys.exit(STOPPED if tried["problems"] else OK)


@backbone.command("prompt")
@CONFIG
@SET
@click.option("--size", "pixels", default="320x240", show_default=True, help="Of the video.")
@click.option("--fps", default=30.0, show_default=True, help="Frames per second of the video.")
@JSON
def backbone_prompt(
    config: Path, overrides: tuple[str, ...], pixels: str, fps: float, as_json: bool
) -> None:
    """Print every prompt as the model gets it; no weights are loaded."""
    from pipeline.backbones import prompt_text, prompt_value
    from pipeline.config import load_config

    value = prompt_value(load_config(config, overrides), pixels, fps)
    _print(value, prompt_text, as_json)


@main.group("cache")
def cache_group() -> None:
    """Look at a store and check it. STORE is its folder."""


@cache_group.command("ls")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--stage", default="", help="Only this stage.")
@JSON
def cache_ls(store: Path, stage: str, as_json: bool) -> None:
    """List the artifacts of a store."""
    from pipeline.storage import list_artifacts, list_text

    _print(list_artifacts(store, stage), list_text, as_json)


@cache_group.command("du")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@JSON
def cache_du(store: Path, as_json: bool) -> None:
    """Say how many artifacts and bytes each stage holds."""
    from pipeline.storage import disk_usage, usage_text

    _print(disk_usage(store), usage_text, as_json)


@cache_group.command("verify")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--full", is_flag=True, help="Read every byte again and compare the digests.")
@JSON
def cache_verify(store: Path, full: bool, as_json: bool) -> None:
    """Check that every artifact is what its record says; exit code 5 where one is not."""
    from pipeline.storage import verify_store, verify_text

    value = verify_store(store, full=full, repair=False)
    _print(value, verify_text, as_json)
    sys.exit(DAMAGED if value["findings"] else OK)


@cache_group.command("repair")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--full", is_flag=True, help="Read every byte again and compare the digests.")
@JSON
def cache_repair(store: Path, full: bool, as_json: bool) -> None:
    """Set aside every artifact that is damaged; the next run makes just these again."""
    from pipeline.storage import verify_store, verify_text

    _print(verify_store(store, full=full, repair=True), verify_text, as_json)
