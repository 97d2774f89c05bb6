"""Bits that flip in a store and in the results of a run: each is found, and none is a wrong number."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache import sums
from cache.arrays import Heads, States
from cache.artifact import Artifact
from cache.atomic import walk
from cache.errors import ConfigError, DamagedArtifact
from cache.layout import check_format
from cache.roots import read_root
from cache.store import Store
from cache.surroundings import misfits
from cache.verify import examine
from pipeline.outputs import read_metrics, read_selection
from pipeline.record import read_failures, read_previous
from pipeline.results import broken_results
from stages.probes.scorers.loaded import loaded_scorer
from tests.cache.stores import flip
from tests.faults.kinds import Tally
from tests.faults.tiny_run import config_of, run_all, write_inputs

REFUSALS = (DamagedArtifact, ConfigError)
"""How damage is refused; a flipped bit in a version is told as that (ConfigError)."""


@dataclass(frozen=True)
class Target:
    """A file that bits flip in."""

    kind: str
    """payload, table, record, mark, root, manifest, result or sums."""
    path: Path
    is_found: Callable[[], bool]
    """Whether a full verify finds the file not to be what it was."""
    read: Callable[[], Any]
    """What everybody who uses the file gets of it; raises one of REFUSALS."""


def targets(store: Path, results: Path) -> list[Target]:
    """Every file of a store that is no catalog, and of the results of a run that is no log."""
    opened = Store(store)
    found = [target for stage in opened.stages() for key in opened.keys(stage)
             for target in _of_artifact(opened, stage, key)]  # fmt: skip
    found += [
        Target("root", path, lambda: any(m.damaged for m in misfits(opened)),
               lambda path=path: read_root(path))
        for path in sorted((store / "roots").glob("*.txt"))
    ]  # fmt: skip
    mark = Target(
        "mark", store / "format.json", lambda: any(m.damaged for m in misfits(opened)),
        lambda: check_format(store),
    )  # fmt: skip
    return [*found, mark, *_of_results(results)]


def _of_artifact(store: Store, stage: str, key: str) -> list[Target]:
    def fresh() -> Artifact:
        return Artifact(stage, key, store.folder(stage, key))

    def is_found() -> bool:
        return examine(fresh(), full=True) != ""

    found = []
    for entry in walk(fresh().path):
        name = Path(entry.path).relative_to(fresh().path).as_posix()
        if entry.is_dir(follow_symlinks=False):
            continue
        kind = {"commit.json": "record"}.get(name, "table" if ".parquet" in name else "payload")
        found.append(Target(kind, Path(entry.path), is_found, _reading(fresh, name)))
    return found


def _reading(fresh: Callable[[], Artifact], name: str) -> Callable[[], Any]:
    """How stages read a file of an artifact: by its record, and by the layer where it is an array."""

    def read() -> Any:
        artifact = fresh()
        if name == "commit.json":
            return artifact.commit
        folder = name.split("/")[0]
        path = artifact.file(folder)
        if folder == "states.zarr":
            states = States.open(path)
            slots = [states.layer(n, p) for n in states.layers for p in range(states.prompts)]
            return [repr(states), *(slot.tobytes() for slot in slots)]
        if folder == "heads.zarr":
            heads = Heads.open(path)
            layers = sorted({layer for layer, _ in heads.heads})
            return [repr(heads), *(heads.of_layer(layer).tobytes() for layer in layers)]
        if name == "scorer.safetensors":
            return {k: np.asarray(v).tobytes() for k, v in _tensors(artifact).items()}
        return path.read_bytes()

    return read


def _tensors(artifact: Artifact) -> Any:
    from stages.probes.scorers import loaded

    loaded._LOADED.clear()
    return loaded_scorer(artifact).scorer.tensors()


def _of_results(results: Path) -> list[Target]:
    def is_found() -> bool:
        return bool(list(broken_results(results)))

    def manifest(path: Path) -> Any:
        previous = read_previous(results, path.stem)
        failures = read_failures(results, [path.stem])
        # One that is not believed counts as absent, which is no wrong number.
        return None if previous is None else (previous.state, previous.rows(), failures)

    readers: dict[str, Callable[[], Any]] = {
        "metrics.json": lambda: read_metrics(results),
        "selection.json": lambda: read_selection(results),
    }
    found = []
    for folder in (results, results / "manifests", results / "scorer", results / "threshold"):
        for path in sorted(folder.glob("*")):
            if not path.is_file() or path.name in ("events.jsonl", "run.toml"):
                continue
            kind = "sums" if path.name == sums.SUMS else folder.name
            if folder == results / "manifests" and kind != "sums":
                read: Callable[[], Any] = lambda path=path: manifest(path)  # noqa: E731
            else:
                read = readers.get(path.name, lambda path=path: sums.require(path).read_bytes())
            kind = {"manifests": "manifest", "sums": "sums"}.get(kind, "result")
            found.append(Target(kind, path, is_found, read if kind != "sums" else lambda: None))
    return found


def flip_one(rng: random.Random, target: Target) -> tuple[bool, str]:
    """Flip a bit and flip it back; (found by a full verify, what an ordinary read came to)."""
    whole = target.read()
    bit = rng.randrange(target.path.stat().st_size * 8)
    flip(target.path, bit)
    try:
        found = target.is_found()
        try:
            read = target.read()
        except REFUSALS:
            return found, "refused"
        if target.kind == "manifest" and read is None:
            return found, "absent"
        return found, "same" if read == whole else f"WRONG: bit {bit} of {target.path}"
    finally:
        flip(target.path, bit)


def flip_many(
    rng: random.Random, found: list[Target], count: int
) -> tuple[Tally, Counter[str], list[str]]:
    """Flip so many bits, one at a time, each in a file of a random kind."""
    kinds = sorted({target.kind for target in found})
    by_kind = {kind: [target for target in found if target.kind == kind] for kind in kinds}
    tally, wrong, outcomes = Tally(), [], Counter[str]()
    for number in range(count):
        kind = kinds[number % len(kinds)]
        target = rng.choice(by_kind[kind])
        seen, came_to = flip_one(rng, target)
        survived = seen and not came_to.startswith("WRONG")
        tally.tried += 1
        tally.survived += survived
        outcomes[f"{kind} {came_to.split(':')[0]}"] += 1
        if not survived:
            wrong.append(f"{came_to}, {'found' if seen else 'NOT FOUND'}: {target.path}")
    tally.figures = outcomes
    return tally, outcomes, wrong


def flip_bits(rng: random.Random, folder: Path) -> Tally:
    """A round of the soak: a finished run of every stage, and a thousand bits."""
    write_inputs(folder)
    run_all(folder)
    tally = Tally()
    for scenario in ("layer", "cv", "heads"):
        config = config_of(folder, scenario)
        one, _, wrong = flip_many(rng, targets(config.store, config.results), 1000)
        assert not wrong, wrong[:5]
        tally.add(one)
    return tally
