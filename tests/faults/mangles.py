"""Files of artifacts that are cut, emptied, replaced, exchanged: each is found, and none is believed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache.artifact import Artifact
from cache.errors import MissingArtifact
from cache.store import Store
from cache.verify import examine
from tests.faults.flips import REFUSALS, Target, targets
from tests.faults.kinds import Tally
from tests.faults.tiny_run import config_of, run_all, write_inputs

QUICK = ("emptied", "cut", "lengthened", "deleted", "a link", "a folder", "a device")
"""What a quick look finds; other bytes of the same size need a full one."""
FULL = ("other bytes", "zeros")


@contextmanager
def harmed(path: Path, harm: str, spare: Path) -> Iterator[None]:
    """Do this to a file, and put it back afterwards."""
    path.rename(spare)
    content = spare.read_bytes()
    other = {
        "emptied": b"",
        "cut": content[: len(content) // 2],
        "lengthened": content + b"\0",
        "zeros": bytes(len(content)),
        "other bytes": content[::-1],
    }
    if harm == "a link":
        path.symlink_to(spare)
    elif harm == "a folder":
        path.mkdir()
    elif harm == "a device":
        os.mkfifo(path)
    elif harm != "deleted":
        path.write_bytes(other[harm])
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        spare.rename(path)


def swap(one: Path, two: Path, spare: Path) -> None:
    """Exchange two files, or two folders."""
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def of_artifacts(store: Path, results: Path) -> list[Target]:
    """Every file of every artifact."""
    return [t for t in targets(store, results) if t.kind in ("payload", "table", "record")]


def artifact_of(store: Path, target: Target) -> Artifact:
    """The artifact of a file, opened anew."""
    stage, _, key = target.path.relative_to(store).parts[:3]
    return Artifact(stage, key, Store(store).folder(stage, key))


def belief(target: Target, whole: Any) -> str:
    """What an ordinary read of a harmed file comes to: refused, same or WRONG."""
    try:
        return "same" if target.read() == whole else f"WRONG: {target.path}"
    except (*REFUSALS, MissingArtifact):
        return "refused"


def mangle_files(rng: random.Random, folder: Path) -> Tally:
    """A round of the soak: three hundred files harmed, and a hundred pairs exchanged."""
    write_inputs(folder)
    run_all(folder)
    config = config_of(folder, "layer")
    every, tally = of_artifacts(config.store, config.results), Tally()
    for number in range(400):
        target, other = rng.sample(every, 2)
        harm = rng.choice((*QUICK, *FULL)) if number % 4 else "exchanged"
        content = target.path.read_bytes()
        if (harm in FULL and content[::-1] == content) or content == other.path.read_bytes():
            continue
        whole = target.read()
        if harm == "exchanged":
            swap(target.path, other.path, folder / "spare")
            found, came_to = _seen(config.store, target), belief(target, whole)
            swap(target.path, other.path, folder / "spare")
        else:
            with harmed(target.path, harm, folder / "spare"):
                found, came_to = _seen(config.store, target), belief(target, whole)
        tally.tried += 1
        tally.survived += found and not came_to.startswith("WRONG")
        tally.figures[f"{harm} {came_to.split(':')[0]}"] += 1
        assert found, (harm, target.path)
        assert not came_to.startswith("WRONG"), (harm, came_to)
    return tally


def _seen(store: Path, target: Target) -> bool:
    return examine(artifact_of(store, target), full=True) != ""
