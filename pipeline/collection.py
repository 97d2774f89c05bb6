"""What `hiprobe cache gc` does and says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cache.artifact import Artifact
from cache.collect import Garbage, Leftover, collect, garbage, keys_of, leftovers, quarantined
from cache.errors import ConfigError, StoreError
from cache.eviction import discard, finish_all
from cache.keys import canonical, differences
from cache.roots import Root, read_roots
from cache.store import Store
from cache.trash import recover
from pipeline.progress import size
from pipeline.view import table

SHOWN = 3
"""Fields of a recipe that a line names."""


def collect_garbage(
    store: Store,
    *,
    age_s: float,
    delete: bool,
    quarantine: bool = False,
    waiting: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Find what no run and no pin reaches, and remove it where `delete` says so.

    Raises DamagedArtifact where a root cannot be read (what is reached is not known then) and
    ConfigError where there is no root at all: everything would be garbage. RunStopped where runs
    were planning for too long.
    """
    roots = read_roots(store.root)
    if delete and not roots:
        raise ConfigError(
            f"{store.root} knows of no run and no pin, so that everything in it would be garbage: "
            "run a configuration that uses it once more (or `hiprobe cache pin`) before this"
        )
    if delete:
        recover(store)
        finish_all(store)
    found = list(garbage(store, roots, age_s))
    why = _Why(store, roots)
    rows = [_row(one, why.of(one)) for one in found]
    rest = [*leftovers(store, roots, age_s)]
    damaged = [*quarantined(store, age_s)]
    value = {
        "delete": delete,
        "roots": len(roots),
        "older_than_s": age_s,
        "artifacts": rows,
        "leftovers": [_leftover(one) for one in rest],
        "quarantine": [_leftover(one) for one in damaged],
        "quarantine_too": quarantine,
    }
    if delete:
        done = collect(store, found, waiting=waiting)
        for one in [*rest, *(damaged if quarantine else ())]:
            discard(store, one.path)
        store.sweep()
        removed = {(one.stage, one.key) for one in done.removed}
        for row in rows:
            row["removed"] = (row["stage"], row["key"]) in removed
        value["kept"] = [f"{one.stage}/{one.key}" for one in done.kept]
    return {**value, "free_bytes": store.free_bytes()}


def garbage_text(value: Mapping[str, Any], every: bool) -> str:
    """What was found or removed and why, by stage and reason; with `every`, one by one."""
    lines = []
    if every:
        lines += [
            f"{row['stage']}/{row['key']}  {size(row['bytes'])}  {row['made']}  {row['why']}"
            for row in value["artifacts"]
        ]
    rows = _grouped(value["artifacts"])
    if rows:
        lines.append(table(["stage", "artifacts", "bytes", "oldest", "why"], rows))
    for name in ("leftovers", "quarantine"):
        if found := value[name]:
            total = size(sum(one["bytes"] for one in found))
            lines.append(f"{NAMES[name]}: {len(found)}, {total}{_not_taken(name, value)}")
    lines.append(_verdict(value))
    lines.append(f"free: {size(value['free_bytes'])}")
    return "\n".join(lines)


NAMES = {
    "leftovers": "left by processes that are gone (drafts, finished parts of items)",
    "quarantine": "set aside as damaged",
}


def _not_taken(name: str, value: Mapping[str, Any]) -> str:
    return "; --quarantine removes it, too" * (name == "quarantine" and not value["quarantine_too"])


def _verdict(value: Mapping[str, Any]) -> str:
    rows = value["artifacts"]
    if not value["delete"]:
        count, total = len(rows), size(sum(row["bytes"] for row in rows))
        if not rows and not value["leftovers"]:
            return f"{value['roots']} runs and pins: nothing to collect"
        return f"{count} artifacts, {total}, would be removed; nothing was: add --delete"
    gone = [row for row in rows if row["removed"]]
    text = f"{len(gone)} artifacts removed, {size(sum(row['bytes'] for row in gone))}"
    kept = len(value["kept"])
    return text + f"; {kept} stay: a run reaches them by now" * bool(kept)


def _grouped(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["stage"], row["why"]), []).append(row)
    return [
        [
            stage,
            str(len(each)),
            size(sum(row["bytes"] for row in each)),
            min(row["made"] for row in each),
            why,
        ]
        for (stage, why), each in sorted(groups.items())
    ]


def _row(one: Garbage, why: str) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "key": one.key,
        "bytes": one.bytes,
        "made": day(one.made),
        "age_s": round(one.age_s),
        "evicted": one.evicted,
        "why": why,
    }


def _leftover(one: Leftover) -> dict[str, Any]:
    return {"what": one.what, "name": one.path.name, "bytes": one.bytes, "age_s": round(one.age_s)}


class _Why:
    """Why something is garbage: who reached it last, and in what its recipe is another one."""

    def __init__(self, store: Store, roots: Sequence[Root]) -> None:
        self._store = store
        self._reached: dict[str, list[str]] = {}
        for stage, key in sorted(keys_of(roots)):
            self._reached.setdefault(stage, []).append(key)
        self._recipes: dict[str, Mapping[str, Any] | None] = {}
        self._told: dict[tuple[str, str], str] = {}

    def of(self, one: Garbage) -> str:
        text = "no run or pin reaches it"
        if one.reached_by:
            text = f"run {one.reached_by} reached it until {day(one.until)}"
        try:
            recipe = Artifact(one.stage, one.key, one.path).commit.recipe
        except StoreError:
            return f"{text}; its record cannot be read"
        made_of = canonical(dict(recipe))
        if (one.stage, made_of) not in self._told:
            self._told[one.stage, made_of] = self._differs(one.stage, recipe)
        return text + self._told[one.stage, made_of]

    def _differs(self, stage: str, recipe: Mapping[str, Any]) -> str:
        if stage not in self._recipes:
            self._recipes[stage] = self._recipe_of(stage)
        now = self._recipes[stage]
        if now is None:
            return ""
        found = [
            f"{path} {canonical(old)}" for path, old, _ in differences(dict(recipe), dict(now))
        ]
        more = f" and {len(found) - SHOWN} more" * (len(found) > SHOWN)
        return f" (made with {', '.join(found[:SHOWN])}{more})" if found else " (other inputs)"

    def _recipe_of(self, stage: str) -> Mapping[str, Any] | None:
        """The recipe of something of this stage that is reached, and can be read."""
        for key in self._reached.get(stage, ()):
            try:
                artifact = self._store.record(stage, key)
                if artifact is not None:
                    return artifact.commit.recipe
            except StoreError:
                continue
        return None


def day(seconds: float) -> str:
    """A moment as a UTC date."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
