"""What a bundle says of itself and of its data set, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.digest import read_json
from cache.errors import ConfigError
from cache.keys import hash_of
from cache.ranges import ranges_of
from cache.store import Store
from pipeline.bundles.artifacts import payload_of
from pipeline.bundles.configuration import model_name
from pipeline.bundles.contents import FORMAT, HEADS, STATES, Bundle, Pair
from pipeline.graph import GRAPH
from pipeline.plan import StagePlan
from pipeline.world import DATASET, Failure, World
from stages.probes.choice import choice_of

Plans = Mapping[str, StagePlan]


def described(
    world: World,
    plans: Plans,
    store: Store,
    layers: tuple[int, ...],
    heads: tuple[Pair, ...],
    rows: Mapping[str, int],
) -> dict[str, Any]:
    """bundle.json, but for the count of files; `rows` are those of each array, by video id.

    Nothing in it depends on when and where it is written.
    """
    from cache.shards import ShardedArray

    made = [
        (s, plans[s].keys[i]) for s in ("forward", "forward_selected") for i in plans[s].digests
    ]
    records = [payload_of(store, stage, key).commit for stage, key in made]
    artifact = payload_of(store, *made[0])
    said = read_json(artifact.file("states.json"))
    array = ShardedArray.open(artifact.file(STATES if layers else HEADS))
    sample = world.config.sections["sample"]
    times = sorted(record.created for record in records)
    return {
        "hiprobe_bundle": FORMAT,
        "run": world.config.run.name,
        "model": model_name(world.config),
        "model_type": said.get("model_type", ""),
        "backbone": world.backbone,
        "listing": hash_of(world.listing),
        "layers": list(layers),
        "heads": [list(pair) for pair in heads],
        "chosen": _chosen(world, plans, store),
        "dtype": array.logical_dtype,
        "dim": array.shape[2],
        "prompts": [prompt["question"] for prompt in said["prompts"]],
        "sampling": (
            f"{sample.keyframes} keyframes ({sample.rule}) of every {sample.segment_frames} frames"
        ),
        "videos": len(rows),
        "segments": sum(rows.values()),
        "failed": len(plans["forward"].failed) + len(plans["forward"].blocked),
        "made": [times[0], times[-1]],
        "packages": dict(records[-1].environment.get("packages", {})),
    }


def _chosen(world: World, plans: Plans, store: Store) -> dict[str, Any] | None:
    """What stage select has chosen, or an outside scorer reads; None where there is no choice yet."""
    plan = plans["select"]
    if world.scorer is not None:
        said = read_json(world.scorer.path / "scorer.json")
    elif DATASET in plan.digests:
        said = read_json(payload_of(store, "select", plan.keys[DATASET]).file("choice.json"))
    else:
        return None
    return choice_of(said).record()


def dataset_of(world: World) -> dict[str, Any]:
    """dataset.json: all that planning has to know of a data set whose folder is not there."""
    config = world.config
    folders = (world.data, config.store, config.results, config.folder, Path.home())

    def placeless(text: str) -> str:
        """A message without the folders of this machine."""
        for folder in folders:
            text = text.replace(f"{folder}/", "")
        return text

    return {
        "listing": world.listing,
        "warnings": [placeless(text) for text in world.warnings],
        "absent": {split: list(names) for split, names in world.absent.items()},
        "listed_frames": dict(world.listed_frames),
        "unreadable": {name: placeless(text) for name, text in world.unreadable.items()},
        "failures": {
            stage: [
                [f.item, f.key, f.error_class, placeless(f.message), f.attempts]
                for f in found.values()
            ]
            for stage, found in world.failures.items()
        },
    }


def world_values(bundle: Bundle, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a World that dataset.json gives.

    Raises ConfigError where it is not one, or not the listing that the bundle was made of.
    """
    stages = {node.name for node in GRAPH}
    try:
        if hash_of(said["listing"]) != bundle.listing:
            raise ValueError("its listing does not have the digest in bundle.json")
        for row in said["listing"]:
            if {"", ".", ".."} & {*str(row[1]).split("/")}:
                raise ValueError(f"{row[1]!r} is no path of a video")
        return {
            "listing": said["listing"],
            "warnings": tuple(map(str, said["warnings"])),
            "absent": {split: tuple(names) for split, names in said["absent"].items()},
            "listed_frames": {name: int(n) for name, n in said["listed_frames"].items()},
            "unreadable": {name: str(text) for name, text in said["unreadable"].items()},
            "failures": {
                stage: {row[1]: Failure(*row) for row in rows}
                for stage, rows in said["failures"].items()
                if stage in stages
            },
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"{bundle.path}/dataset.json does not describe a data set ({error}); ask for the bundle "
            "anew"
        ) from error


def wanted_of(
    layers: tuple[int, ...], heads: tuple[Pair, ...], world: World, plans: Plans, store: Store
) -> tuple[tuple[int, ...], tuple[Pair, ...]]:
    """The layers and heads to export: those asked for, or without any what was chosen.

    Raises ConfigError where nothing was chosen, or a pass that is exported does not keep them: it
    names what is kept.
    """
    if not layers and not heads:
        chosen = _chosen(world, plans, store)
        if chosen is None:
            raise ConfigError("nothing is chosen yet: give --layers, or run `hiprobe run` first")
        choice = choice_of(chosen)
        layers = tuple(n for n in (choice.layer, choice.context) if n is not None)
        heads = tuple(sorted(choice.heads))
    for stage in ("forward", "forward_selected"):
        for key in sorted(plans[stage].keys[item] for item in plans[stage].digests)[:1]:
            _require_kept(stage, payload_of(store, stage, key), layers, heads)
    return layers, heads


def _require_kept(
    stage: str, artifact: Any, layers: tuple[int, ...], heads: tuple[Pair, ...]
) -> None:
    from cache.arrays import Heads, States

    kept = States.open(artifact.file(STATES)).layers if artifact.holds(STATES) else ()
    if lacking := sorted({*layers} - {*kept}):
        there = f"layers {ranges_of(kept)}" if kept else "no layers"
        raise ConfigError(f"--layers: {stage} keeps {there}, not {ranges_of(lacking)}")
    pairs = Heads.open(artifact.file(HEADS)).heads if heads and artifact.holds(HEADS) else ()
    if absent := [list(pair) for pair in heads if pair not in pairs]:
        raise ConfigError(f"--heads: {stage} keeps {len(pairs)} heads, and not {absent}")
