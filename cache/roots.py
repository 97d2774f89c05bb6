"""Roots: what in a store somebody needs, so that collecting garbage can leave it alone.

<store>/roots/<id>.txt      what a run reaches, kept by the run itself
<store>/pins/<name>.txt     the same, kept by a person until it is unpinned

A root is a line of JSON about whose it is, and one line per artifact. The first line holds the
digest of the rest and its own, so that a flipped bit is seen. A store may be copied with its roots.

A run that looks at the store and only then writes its root would lose what is collected in between.
So it announces itself first (`planning`), and who collects takes things out of sight first, then
waits for those that had announced themselves before, reads the roots again, and puts back what they
reach. Neither needs a lock.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.atomic import clock_of, replace_bytes
from cache.claims import is_alive, this_host
from cache.errors import ConfigError, DamagedArtifact, StoreTooNew
from cache.keys import canonical, hash_of

FORMAT = 1
PLANNING = ".planning~"
"""How the name of an announcement begins."""
PLANNING_S = 600.0
"""Seconds after which the announcement of another machine's process does not count any more."""

Reach = Mapping[str, Mapping[str, str]]
"""Key by item by stage."""


@dataclass(frozen=True)
class Root:
    """What one run, or one pin, reaches."""

    id: str
    name: str
    """The name of the run, or of the pin."""
    reach: Reach
    by: str = ""
    """Who wrote it: user and host."""
    written: str = ""
    """UTC time."""
    pinned: bool = False
    features: Mapping[str, Any] = field(default_factory=dict)
    """What a person may want to know of it, in JSON values."""

    def keys(self) -> set[tuple[str, str]]:
        """(stage, key) of everything that it reaches."""
        return {(stage, key) for stage, keys in self.reach.items() for key in keys.values()}


def root_id(name: str, results: Path) -> str:
    """The id of the run whose results lie in a folder: no path is in it, and no two share one."""
    where = f"{this_host().rpartition('+')[0]}:{results.resolve()}"
    return f"{_plain(name)}~{hashlib.sha256(os.fsencode(where)).hexdigest()[:12]}"


def read_roots(store: Path) -> list[Root]:
    """Every root and pin of a store, sorted by id. Raises DamagedArtifact where one cannot be read."""
    found = []
    for folder, pinned in (("roots", False), ("pins", True)):
        for path in sorted((store / folder).glob("[!.]*.txt")):
            with contextlib.suppress(FileNotFoundError):  # unpinned this moment
                found.append(read_root(path, pinned=pinned))
    return found


def read_root(path: Path, *, pinned: bool = False) -> Root:
    """Read one root; raises DamagedArtifact, StoreTooNew for a newer format, FileNotFoundError."""
    head, text = _head(path), path.read_bytes()
    body = text.partition(b"\n")[2]
    if hashlib.sha256(body).hexdigest() != head["body"]:
        raise _damaged(path, "its lines do not have the digest that the first of them gives")
    reach: dict[str, dict[str, str]] = {}
    for line in body.decode("ascii").splitlines():
        stage, item, key = json.loads(line)
        reach.setdefault(stage, {})[item] = key
    return Root(
        path.stem, head["name"], reach, head["by"], head["written"], pinned, head["features"]
    )


def write_root(
    store: Path,
    root: Root,
) -> None:
    """Write a root, or a pin, in one step; one that says the same already is left as it is.

    A store that cannot be written keeps no roots: whoever reads it has no say in what is kept.
    """
    path = store / ("pins" if root.pinned else "roots") / f"{root.id}.txt"
    body = _body(root.reach).encode("ascii")
    digest = hashlib.sha256(body).hexdigest()
    with contextlib.suppress(OSError, DamagedArtifact, StoreTooNew):
        head = _head(path)
        if (head["body"], head["features"]) == (digest, dict(root.features)):
            return
    said = {
        "format": FORMAT,
        "name": root.name,
        "by": root.by or f"{_user()}@{this_host().rpartition('+')[0]}",
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "features": dict(root.features),
        "body": digest,
    }
    line = canonical({**said, "record": hash_of(said)}).encode("ascii")
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, line + b"\n" + body)


def pin(store: Path, name: str, roots: Iterable[Root]) -> Root:
    """Keep what some roots reach now until `unpin`; raises ConfigError for a name that is taken."""
    if _plain(name) != name or not name:
        raise ConfigError(f"pin {name!r}: give a name of letters, digits, '.', '_' and '-'")
    if (store / "pins" / f"{name}.txt").exists():
        raise ConfigError(f"pin {name}: there is one of this name; unpin it first")
    reach: dict[str, dict[str, str]] = {}
    for root in roots:
        for stage, keys in root.reach.items():
            known = reach.setdefault(stage, {})
            for item, key in keys.items():
                # Two runs may have the same video under other keys: both are kept.
                known[item if known.get(item, key) == key else f"{item} of {root.id}"] = key
    made = Root(name, name, reach, pinned=True)
    write_root(store, made)
    return made


def unpin(store: Path, name: str) -> None:
    """Give up a pin, or forget a run. Raises ConfigError where there is none of this name or id."""
    for folder in ("pins", "roots"):
        path = store / folder / f"{name}.txt"
        if _plain(name.replace("~", "")) == name.replace("~", "") and path.exists():
            path.unlink()
            return
    raise ConfigError(f"{store} has no pin and no run {name!r}: `hiprobe cache roots` lists them")


def merged(old: Reach, new: Reach) -> Reach:
    """What either reaches; where both have an item, the old key stays under another item's name."""
    both = {stage: dict(keys) for stage, keys in new.items()}
    for stage, keys in old.items():
        known = both.setdefault(stage, {})
        for item, key in keys.items():
            if known.setdefault(item, key) != key:
                known[f"{item} before {key[:12]}"] = key
    return both


@contextmanager
def planning(store: Path) -> Iterator[None]:
    """Announce that what is found in the store now will be in a root by the end of this block."""
    path = store / "roots" / f"{PLANNING}{this_host()}~{os.getpid()}~{uuid.uuid4().hex[:12]}"
    # In a store that cannot be written nothing is collected by people who would heed this.
    with contextlib.suppress(OSError):
        path.touch()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def announced(store: Path) -> list[str]:
    """The announcements of processes that plan at this moment."""
    found = []
    for path in (store / "roots").glob(f"{PLANNING}*"):
        host, pid = path.name.split("~")[1:3]
        if host == this_host():
            counts = pid.isdecimal() and is_alive(int(pid))
        else:
            try:
                counts = clock_of(path.parent) - path.stat().st_mtime < PLANNING_S
            except FileNotFoundError:
                continue
        if counts:
            found.append(path.name)
        else:
            path.unlink(missing_ok=True)
    return found


def _head(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            head: dict[str, Any] = json.loads(file.readline().decode("ascii"))
        said = head.pop("record")
        if hash_of(head) != said:
            raise _damaged(path, "its first line does not have the sha256 that it carries")
        if head["format"] > FORMAT:
            raise StoreTooNew(
                f"{path.name}: format {head['format']}, this hiprobe reads up to {FORMAT}; "
                "install a newer hiprobe"
            )
        return head
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _body(reach: Reach) -> str:
    lines = (
        json.dumps([stage, item, key], separators=(",", ":"))
        for stage, keys in sorted(reach.items())
        for item, key in sorted(keys.items())
    )
    return "".join(f"{line}\n" for line in lines)


def _damaged(path: Path, why: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"{path.parent.name}/{path.name} cannot be read ({why}); run that run again, which writes "
        "it anew, or remove the file"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name).lstrip(".")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
