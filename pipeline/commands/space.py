"""`hiprobe cache evict`, `gc`, and the runs and pins that keep what a store holds."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import JSON, STORE, USAGE, fail, print_value, store_of

OLDER = "Only what came into the store so long ago, such as 30d or 12h."


@click.command("evict")
@STORE
@click.option("--stage", "stages", multiple=True, required=True, help="A stage; can be repeated.")
@click.option("--run", default="", metavar="NAME", help="Only what this run or pin reaches.")
@click.option("--select", default="", metavar="GLOB", help="Only videos whose id matches.")
@click.option("--id", "key", default="", metavar="PREFIX", help="Only keys that begin so.")
@click.option("--older-than", default="", metavar="30d", help=OLDER)
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option("--yes", is_flag=True, help="Give up what the backbone has made, too.")
@JSON
def cache_evict(
    store: Path,
    stages: tuple[str, ...],
    run: str,
    select: str,
    key: str,
    older_than: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Free the payload of artifacts and keep their records: what follows from them stays fresh.

    They are made again when something has to be made from them anew. What is pinned stays.
    """
    from pipeline.durations import seconds_of
    from pipeline.space import Which, evict_all, eviction_text, foresee_eviction

    age = seconds_of(older_than, "--older-than") if older_than else 0.0
    opened = store_of(store)
    value = foresee_eviction(opened, Which(stages, run, select, key, age))
    costly = [s["stage"] for s in value["stages"] if s["backbone"] and s["artifacts"]]
    if costly and not dry_run and not yes:
        click.echo(eviction_text(value), err=True)
        fail(f"{', '.join(costly)} was made by the backbone: add --yes to give it up", USAGE)
    if not dry_run:
        value = evict_all(opened, value)
    print_value(value, eviction_text, as_json)


@click.command("gc")
@STORE
@click.option("--delete", is_flag=True, help="Remove it; without this, it is only listed.")
@click.option("--older-than", default="7d", show_default=True, help=OLDER)
@click.option("--quarantine", is_flag=True, help="Also what was set aside as damaged.")
@click.option("--list", "every", is_flag=True, help="One line for each artifact.")
@JSON
def cache_gc(
    store: Path, delete: bool, older_than: str, quarantine: bool, every: bool, as_json: bool
) -> None:
    """List what no run and no pin reaches, and why; with --delete, remove it.

    Every run takes note in its store of what it reaches; see `hiprobe cache roots`.
    """
    from pipeline.collection import collect_garbage, garbage_text
    from pipeline.durations import seconds_of

    told: list[int] = []

    def waiting(count: int) -> None:
        if not told:
            click.echo(f"waiting for {count} runs that plan at this moment", err=True)
        told.append(count)

    value = collect_garbage(
        store_of(store),
        age_s=seconds_of(older_than, "--older-than"),
        delete=delete,
        quarantine=quarantine,
        waiting=waiting,
    )
    print_value(value, lambda found: garbage_text(found, every), as_json)


@click.command("roots")
@STORE
@JSON
def cache_roots(store: Path, as_json: bool) -> None:
    """List the runs and pins that the store knows: what they reach is not garbage."""
    from pipeline.space import list_roots, roots_text

    print_value(list_roots(store_of(store)), roots_text, as_json)


@click.command("pin")
@STORE
@click.argument("name")
@click.option("--run", required=True, metavar="RUN", help="The run, by name or id.")
@JSON
def cache_pin(store: Path, name: str, run: str, as_json: bool) -> None:
    """Keep what a run reaches now, whatever becomes of that run."""
    from pipeline.space import pin_run

    print_value(
        pin_run(store_of(store), name, run),
        lambda v: f"pinned as {name}: {v['artifacts']} artifacts, {v['here']} of them are here",
        as_json,
    )


@click.command("unpin")
@STORE
@click.argument("name")
def cache_unpin(store: Path, name: str) -> None:
    """Give up a pin."""
    from pipeline.space import unpin_name

    click.echo(unpin_name(store_of(store), name))


@click.command("forget")
@STORE
@click.argument("run")
def cache_forget(store: Path, run: str) -> None:
    """Forget a run: what only it reaches may then be collected."""
    from pipeline.space import forget_run

    click.echo(forget_run(store_of(store), run))
