"""Roots: what in a store somebody needs, so that collecting garbage can leave it alone.

<store>/roots/<id>.txt      what a run reaches, kept by the run itself
<store>/pins/<name>.txt     the same, kept by a person until it is unpinned

A root is a line of JSON about whose it is, and a line per stage. The first line holds the digest of
the rest and its own, so that a flipped bit is seen. A store may be copied with its roots.

A run that looks at the store and only then writes its root would lose what is collected in between.
So it announces itself first (`planning`), and who collects takes things out of sight first, then
waits for those that had announced themselves before, reads the roots again, and puts back what they
reach. Neither needs a lock.
"""

from __future__ import annotations

import contextlib
import difflib
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
from cache.claims import Claims, this_host
from cache.errors import ConfigError, DamagedArtifact, StoreTooNew
from cache.keys import canonical, hash_of
from cache.layout import IS_KEY, is_stage

FORMAT = 1
PLANNING = "planning~"
"""How the name of an announcement begins: it is a claim, so that it shows signs of life."""
REMEMBERED_S = 90 * 24 * 3600.0
"""Seconds for which a root knows what its run reached before."""

Reach = Mapping[str, Mapping[str, str]]
"""Key by item by stage."""
Earlier = Mapping[str, Mapping[str, int]]
"""By stage and key, until when something was reached (seconds by the store's own clock), or 0 where
it counts as reached still."""


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
    earlier: Earlier = field(default_factory=dict)
    """What the run reached before it was configured otherwise."""

    def keys(self) -> set[tuple[str, str]]:
        """(stage, key) of everything that has to be kept for it."""
        found = {(stage, key) for stage, keys in self.reach.items() for key in keys.values()}
        for stage, known in self.earlier.items():
            found |= {(stage, key) for key, until in known.items() if not until}
        return found


def root_id(name: str, results: Path) -> str:
    """The id of the run whose results lie in a folder: no path is in it, and no two share one."""
    where = f"{this_host().rpartition('+')[0]}:{results.resolve()}"
    # Names of files end at 255 bytes, a letter takes up to 4.
    return f"{_plain(name)[:48]}~{hashlib.sha256(os.fsencode(where)).hexdigest()[:12]}"


def read_roots(store: Path) -> list[Root]:
    """Every root and pin of a store, sorted by id, roots first.

    Raises DamagedArtifact where one cannot be read, StoreTooNew for a newer format: what is
    reached is then not known.
    """
    found = []
    for folder, pinned in (("roots", False), ("pins", True)):
        for path in sorted((store / folder).glob("[!.]*.txt")):
            with contextlib.suppress(FileNotFoundError):  # unpinned this moment
                found.append(read_root(path, pinned=pinned))
    return found


def read_root(path: Path, *, pinned: bool = False) -> Root:
    """Read one root; raises DamagedArtifact, StoreTooNew for a newer format, FileNotFoundError."""
    try:
        head, body = _parts(path)
        reach: dict[str, dict[str, str]] = {}
        earlier: dict[str, dict[str, int]] = {}
        for line in body.decode("ascii").splitlines():
            kind, stage, said = json.loads(line)
            keys = {EARLIER: said.keys, REACH: said.values}[kind]()
            # What is in a root becomes paths in a store: names and keys are only that.
            if not is_stage(stage) or not all(map(IS_KEY, keys)):
                raise ValueError("it names something that is no artifact")
            if kind == EARLIER:
                earlier[stage] = {key: int(until) for key, until in said.items()}
            else:
                reach[stage] = said
        return Root(
            path.stem,
            str(head["name"]),
            reach,
            str(head["by"]),
            str(head["written"]),
            pinned,
            dict(head["features"]),
            earlier,
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, StoreTooNew):
            raise
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def named(roots: Iterable[Root], name: str) -> list[Root]:
    """The roots of this id or, failing that, of this name: two runs may have one.

    Raises ConfigError where there is none, with the nearest name.
    """
    roots = list(roots)
    found = [r for r in roots if r.id == name] or [r for r in roots if r.name == name]
    if not found:
        known = sorted({r.name for r in roots})
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        words = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known) or 'none'}"
        raise ConfigError(f"the store has no run and no pin {name!r}; {words}")
    return found


def write_root(store: Path, root: Root) -> None:
    """Write a root, or a pin, in one step; one that says the same already is left as it is.

    Raises OSError where the store cannot be written.
    """
    path = _path(store, root)
    reach, earlier = _lines(REACH, root.reach), _lines(EARLIER, root.earlier)
    said = {
        "format": FORMAT,
        "name": root.name,
        "features": dict(root.features),
        "reach": hashlib.sha256(reach).hexdigest(),
        "open": any(until == 0 for known in root.earlier.values() for until in known.values()),
        "body": hashlib.sha256(reach + earlier).hexdigest(),
    }
    head = _head_of(path)
    if head is not None and all(head.get(name) == value for name, value in said.items()):
        return
    said |= {
        "by": root.by or f"{_user()}@{this_host().rpartition('+')[0]}",
        "written": root.written or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    line = canonical({**said, "record": hash_of(said)}).encode("ascii")
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, line + b"\n" + reach + earlier)


def renew_root(store: Path, root: Root, *, complete: bool) -> None:
    """Write the root of a run as it is configured now, which may be otherwise than before.

    What it reached before counts until the run is complete (whoever interrupts one, or makes a part
    of it, may go back), and is remembered for `REMEMBERED_S` seconds, so that garbage collection
    can tell since when nobody needs it. Raises OSError where the store cannot be written,
    StoreTooNew where a newer hiprobe wrote the root.
    """
    path = _path(store, root)
    head = _head_of(path) or {}
    said = hashlib.sha256(_lines(REACH, root.reach)).hexdigest()
    same = (head.get("reach"), head.get("features")) == (said, dict(root.features))
    if same and not (complete and head["open"]):
        return
    # One that cannot be read is no reason to stop: this run writes it anew.
    before = Root(root.id, root.name, {})
    with contextlib.suppress(DamagedArtifact, FileNotFoundError):
        before = read_root(path)
    path.parent.mkdir(exist_ok=True)
    now = clock_of(path.parent)
    known = {(stage, key): 0 for stage, keys in before.reach.items() for key in keys.values()}
    known |= {(s, key): until for s, keys in before.earlier.items() for key, until in keys.items()}
    reached = root.keys()
    earlier: dict[str, dict[str, int]] = {}
    for (stage, key), until in known.items():
        ended = until or (int(now) if complete else 0)
        if (stage, key) not in reached and not (ended and now - ended > REMEMBERED_S):
            earlier.setdefault(stage, {})[key] = ended
    write_root(store, Root(root.id, root.name, root.reach, features=root.features, earlier=earlier))


def pin(store: Path, name: str, roots: Iterable[Root]) -> Root:
    """Keep what some roots reach now until `unpin`; raises ConfigError for a name that is taken."""
    if not _is_name(name):
        raise ConfigError(
            f"pin {name!r}: give a name of at most 48 letters, digits, '.', '_' and '-'"
        )
    reach: dict[str, dict[str, str]] = {}
    others: dict[str, dict[str, int]] = {}
    for root in roots:
        for stage, keys in root.reach.items():
            known = reach.setdefault(stage, {})
            for item, key in keys.items():
                # Two runs may have the same video under other keys: both are kept.
                if known.setdefault(item, key) != key:
                    others.setdefault(stage, {})[key] = 0
    made = Root(name, name, reach, pinned=True, earlier=others)
    if _path(store, made).exists():
        raise ConfigError(f"pin {name}: there is one of this name; unpin it first")
    write_root(store, made)
    return made


def unpin(store: Path, name: str) -> None:
    """Give up a pin. Raises ConfigError where there is none of this name."""
    _remove(store / "pins", name, "pin")


def forget(store: Path, id_of_run: str) -> None:
    """Take away the root of a run. Raises ConfigError where there is none of this id."""
    _remove(store / "roots", id_of_run, "run")


@contextmanager
def planning(store: Path) -> Iterator[None]:
    """Announce that what is found in the store now will be in a root by the end of this block."""
    with contextlib.ExitStack() as announced:
        # In a store that cannot be written nothing is collected by people who would heed this.
        with contextlib.suppress(OSError):
            claims = Claims(store / "claims")
            announced.enter_context(claims.hold(f"{PLANNING}{uuid.uuid4().hex}"))
        yield


def announced(store: Path) -> set[str]:
    """The announcements of processes that plan at this moment."""
    claims = Claims(store / "claims")
    names = [path.name for path in (store / "claims").glob(f"{PLANNING}*")]
    return {name for name in names if claims.is_held(name)}


REACH, EARLIER = "reach", "earlier"


def _path(store: Path, root: Root) -> Path:
    return store / ("pins" if root.pinned else "roots") / f"{root.id}.txt"


def _remove(folder: Path, name: str, what: str) -> None:
    path = folder / f"{name}.txt"
    # A name is never a way to another folder.
    if path.name != f"{name}.txt" or name.startswith(".") or not path.exists():
        raise ConfigError(f"the store has no {what} {name!r}: `hiprobe cache roots` lists them")
    path.unlink()


def _head_of(path: Path) -> dict[str, Any] | None:
    """The first line of a root that is whole; None where there is none that is."""
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ):
        return _parts(path)[0]
    return None


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """First line and rest of a root, both as they were written; raises ValueError otherwise."""
    # Read at once: another process may put another file in its place.
    line, _, body = path.read_bytes().partition(b"\n")
    head: dict[str, Any] = json.loads(line.decode("ascii"))
    said = head.pop("record")
    if canonical({**head, "record": said}).encode("ascii") != line or hash_of(head) != said:
        raise ValueError("its first line does not have the sha256 that it carries")
    if head["format"] > FORMAT:
        raise StoreTooNew(
            f"{path.parent.name}/{path.name}: format {head['format']}, this hiprobe reads up to "
            f"{FORMAT}; install a newer hiprobe"
        )
    if hashlib.sha256(body).hexdigest() != head["body"]:
        raise ValueError("its lines do not have the digest that the first of them gives")
    return head, body


def _lines(kind: str, said: Mapping[str, Mapping[str, Any]]) -> bytes:
    lines = (
        json.dumps([kind, stage, dict(values)], sort_keys=True, separators=(",", ":"))
        for stage, values in sorted(said.items())
        if values
    )
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _damaged(path: Path, why: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"{path.parent.name}/{path.name} cannot be read ({why}); run that run again, which writes "
        "it anew, or remove the file"
    )


def _is_name(name: str) -> bool:
    return bool(name) and _plain(name)[:48] == name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name).lstrip(".")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
