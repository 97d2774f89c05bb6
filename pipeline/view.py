"""What the reporting commands print: plain tables, and the same as JSON values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cache.store import Store
from pipeline.asked import Summary
from pipeline.deviations import difference_lines, frame_differences
from pipeline.estimates import HEAD, estimate_rows
from pipeline.needs import Balance, Need, balances, needs_of, passes_of
from pipeline.plan import BY_CHOICE, StagePlan, plan_all
from pipeline.progress import clock, size
from pipeline.record import Previous, read_previous
from pipeline.why import reasons, source_warning
from pipeline.world import World

SHOWN = 30
"""Lines of one kind that a summary prints."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns wide enough for what they hold; numbers to the right, with their heads."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    numbers = [any(_is_number(row[i], i) for row in rows) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            text.rjust(width)
            if _is_number(text, i) or (row is head and numbers[i])
            else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plan_value(world: World, store: Store) -> dict[str, Any]:
    """What `hiprobe plan` says, as a JSON value."""
    plans = plan_all(world)
    passes = passes_of(world, plans, store)
    needs = {need.stage: need for need in needs_of(world, plans, store, passes)}
    stages = []
    for name, plan in plans.items():
        previous = read_previous(world.config.results, name)
        need = needs.get(name, Need(name, 0, 0.0, 0, 0))
        stages.append(
            {
                "stage": name,
                "items": plan.total,
                "fresh": len(plan.digests),
                "todo": len(plan.todo),
                "waiting": len(plan.waiting),
                "restore": len(plan.restore),
                "failed": len(plan.failed),
                "blocked": len(plan.blocked),
                "not_selected": len(plan.unselected),
                "off": plan.off,
                "why": [
                    {"reason": r.text, "items": r.items}
                    for r in reasons(plan, world, plans, previous, store)
                ],
                "seconds": need.seconds,
                "bytes": need.bytes,
                "bytes_sure": need.sure,
                "estimated_from": need.by,
            }
        )
    count, volume = world.to_digest
    return {
        "run": world.config.run.name,
        "work": sum(plan.work for plan in plans.values()),
        "to_digest": {"files": count, "bytes": volume},
        "backbone": world.backbone,
        "free_bytes": store.free_bytes(),
        "space": [_space(b) for b in balances(world, store, list(needs.values()))],
        "stages": stages,
        "passes": passes,
    }


def _space(balance: Balance) -> dict[str, Any]:
    return {**dataclasses.asdict(balance), "short": balance.short, "text": balance.text()}


def plan_text(value: Mapping[str, Any]) -> str:
    """What `hiprobe plan` prints."""
    rows = []
    for stage in value["stages"]:
        why = "; ".join(f"{r['reason']} ({r['items']})" for r in stage["why"])
        state = "off" if stage["off"] else why or "fresh"
        if stage["failed"] or stage["blocked"]:
            state += f"; {stage['failed']} failed before, {stage['blocked']} blocked"
        work = stage["todo"] + stage["waiting"] + stage["restore"]
        rows.append(
            [
                stage["stage"],
                str(stage["items"]),
                str(work),
                _or_unknown(stage["seconds"], clock) if work else "",
                _or_unknown(stage["bytes"], size) if work else "",
                state,
            ]
        )
    lines = [table(["stage", "items", "work", "time", "bytes", "why"], rows)]
    lines += _off({stage["stage"]: stage["off"] for stage in value["stages"]})
    if value["passes"]:
        lines += _passes_text(value["passes"])
    if value["to_digest"]["files"]:
        count, volume = value["to_digest"]["files"], size(value["to_digest"]["bytes"])
        lines.append(f"{count} source files ({volume}) are to be digested before more can be said.")
    for space in value["space"] if value["work"] else ():
        lines.append(f"{'NOT ENOUGH SPACE: ' * space['short']}{space['text']}")
    lines.append("nothing to do" if not value["work"] else f"{value['work']} items of work")
    return "\n".join(lines)


def _passes_text(value: Mapping[str, Any]) -> list[str]:
    if "unknown" in value:
        return [f"no estimate of the forward pass: {value['unknown']}"]
    return ["", table(HEAD, estimate_rows(value)), f"supposed: {'; '.join(value['supposed'])}", ""]


def status_value(world: World) -> dict[str, Any]:
    """What `hiprobe status` says, as a JSON value."""
    stages, failures = [], []
    warnings = list(world.warnings)
    plans = plan_all(world)
    for name, plan in plans.items():
        previous = read_previous(world.config.results, name)
        # Stale: it was made before under another key. Missing: it never was.
        known = _known(plan, previous)
        stages.append(
            {
                "stage": name,
                "items": plan.total,
                "fresh": len(plan.digests),
                "stale": known,
                "missing": len(plan.todo) + len(plan.waiting) + len(plan.unselected) - known,
                "failed": len(plan.failed),
                "blocked": len(plan.blocked),
                "bytes": _bytes(plan, world),
                "stores": _stores(plan, world),
                "off": plan.off,
            }
        )
        failures += [
            {"stage": name, "video_id": item, "error_class": f.error_class, "message": f.message}
            for item, f in sorted(plan.failed.items())
        ]
        if warning := source_warning(plan, world, previous):
            warnings.append(warning)
    warnings += difference_lines(frame_differences(world, plans["decode"]))
    return {
        "run": world.config.run.name,
        "backbone": world.backbone,
        "shared": list(world.config.sections["cache"].shared),
        "stages": stages,
        "failures": failures,
        "warnings": warnings,
    }


def status_text(value: Mapping[str, Any]) -> str:
    """What `hiprobe status` prints."""
    names = ("items", "fresh", "stale", "missing", "failed", "blocked")
    rows = [
        [s["stage"], *(str(s[n]) for n in names), size(s["bytes"]), "off" if s["off"] else ""]
        for s in value["stages"]
    ]
    head = ["stage", *names, "bytes", ""]
    if value["shared"]:
        head[-1:] = ["from", ""]
        for row, stage in zip(rows, value["stages"], strict=True):
            where = ", ".join(f"{count} {store}" for store, count in stage["stores"].items())
            row.insert(-1, f"[{where}]" if where else "")
    lines = [table(head, rows)]
    lines += _off({stage["stage"]: stage["off"] for stage in value["stages"]})
    lines += [f"failed: {f['stage']} of {f['video_id']}: {f['message']}" for f in value["failures"]]
    lines += [f"warning: {text}" for text in value["warnings"]]
    return "\n".join(lines)


def summary_text(summary: Summary) -> str:
    """What `hiprobe run` prints at its end."""
    lines = []
    built = {name: count for name, count in summary.built.items() if count}
    if built:
        made = ", ".join(f"{name} {count}" for name, count in built.items())
        lines.append(f"made in {clock(summary.seconds)}: {made}")
    else:
        lines.append("nothing to do: everything is fresh")
    lines += _some([f"note: {note}" for note in summary.notes])
    # That the default has no second pass, and what is not selected from, say `plan` and `status`.
    off = {name: plan.off for name, plan in summary.plans.items() if plan.off not in BY_CHOICE}
    lines += _off(off)
    for name, plan in summary.plans.items():
        for reason, count in Counter(plan.blocked.values()).items():
            lines.append(f"blocked: {count} of {plan.total} items of {name}: {reason}")
        held = len(plan.waiting) + len(plan.todo) + len(plan.unselected)
        if held and name in summary.asked:
            lines.append(f"not made: {held} of {plan.total} items of {name}")
    lines += _some([f"FAILED {name} of {f.item}: {f.message}" for name, f in summary.failures])
    if summary.failures:
        lines.append(
            f"{len(summary.failures)} items failed; the rest is finished. "
            "`hiprobe run --retry-failed` tries them again."
        )
    return "\n".join(lines)


def summary_value(summary: Summary) -> dict[str, Any]:
    """The same as a JSON value."""
    return {
        "seconds": round(summary.seconds, 3),
        "built": summary.built,
        "notes": summary.notes,
        "off": {name: plan.off for name, plan in summary.plans.items() if plan.off},
        "failed": [
            {"stage": name, "video_id": f.item, "error_class": f.error_class, "message": f.message}
            for name, f in summary.failures
        ],
        "blocked": {n: len(p.blocked) for n, p in summary.plans.items() if p.blocked},
    }


def _off(stages: Mapping[str, str]) -> list[str]:
    """One line per reason why stages are not part of the run."""
    found: dict[str, list[str]] = {}
    for name, reason in stages.items():
        if reason:
            found.setdefault(reason, []).append(name)
    return [f"off: {', '.join(names)}: {reason}" for reason, names in found.items()]


def _some(lines: Sequence[str]) -> list[str]:
    """The first of many lines, and how many more there are."""
    if len(lines) <= SHOWN:
        return list(lines)
    more = f"... and {len(lines) - SHOWN} more: see manifests/ and events.jsonl in the results"
    return [*lines[:SHOWN], more]


def _known(plan: StagePlan, previous: Previous | None) -> int:
    if previous is None or not plan.work:
        return 0
    rows = previous.rows()
    return sum(1 for item in [*plan.todo, *plan.waiting] if item in rows)


def _bytes(plan: StagePlan, world: World) -> int:
    index = world.committed.get(plan.node.name)
    if index is None:
        return 0
    return sum(index.sizes[plan.keys[item]][1] for item in plan.digests)


def _stores(plan: StagePlan, world: World) -> dict[str, int]:
    """How many fresh items lie in which store, by the path that the configuration gives it."""
    index, config = world.committed.get(plan.node.name), world.config
    if index is None:
        return {}
    given = (*config.sections["cache"].shared, *filter(None, [config.run.bundle]))
    names = dict(zip(config.shared, given, strict=True))
    found = Counter(index.origin.get(plan.keys[item]) for item in plan.digests)
    counts = {config.run.store: found[None], **{name: found[root] for root, name in names.items()}}
    return {name: count for name, count in counts.items() if count}


def _or_unknown(value: float | None, show: Any) -> str:
    return "?" if value is None else f"~{show(value)}"


def _is_number(text: str, column: int) -> bool:
    return column > 0 and (text.lstrip("+-")[:1].isdigit() or text == "-")
