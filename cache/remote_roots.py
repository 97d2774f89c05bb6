"""Roots of a remote store: so that a colleague can pull a run of which he knows only the name.

A root that was pulled is kept under a name of its own: whoever pulls what he has pushed himself does
not overwrite what his own run says it needs by now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from pathlib import Path

from cache.errors import ConfigError, DamagedArtifact
from cache.remote import Remote
from cache.roots import Root, read_root, write_root
from cache.store import Store

PULLED = "pulled~"
"""How the id of a root that came from elsewhere begins."""
_IS_NAME = re.compile(r"\w[\w.~-]{0,200}").fullmatch


def read_remote_roots(remote: Remote, wanted: str = "") -> tuple[list[Root], list[str]]:
    """The roots and pins of a remote store, and what is wrong with those that cannot be read.

    `wanted` is looked for as an id, too: not every server lists what it has.
    """
    roots, problems = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("roots", "pins"):
            (Path(folder) / kind).mkdir()
            for name in sorted({*_listed(remote, kind, wanted), wanted}):
                if not _IS_NAME(name):
                    continue  # also the links of a page over HTTP, to sort it say
                with contextlib.suppress(FileNotFoundError):
                    path = Path(folder) / kind / f"{name}.txt"
                    path.write_bytes(remote.read(f"{kind}/{name}.txt"))
                    try:
                        roots.append(read_root(path, pinned=kind == "pins"))
                    except DamagedArtifact as error:
                        problems.append(f"{remote.shown}: {error}")
    return roots, problems


def _listed(remote: Remote, kind: str, wanted: str) -> list[str]:
    try:
        return [name.removesuffix(".txt") for name in remote.names(kind) if name.endswith(".txt")]
    except ConfigError:
        if not wanted:
            raise
        return []  # a listing is refused; what is wanted may be given by its id


def origin_of(root: Root) -> str:
    """The id that a root has where it was written."""
    return root.id.removeprefix(PULLED)


def send_root(remote: Remote, store: Store, root: Root) -> None:
    """Put a root of a store into a remote one, in one step; one that was only pulled, if it lacks."""
    path = f"roots/{origin_of(root)}.txt"
    if root.id != origin_of(root) and f"{origin_of(root)}.txt" in remote.names("roots"):
        return
    kind = "pins" if root.pinned else "roots"
    remote.write(path, (store.root / kind / f"{root.id}.txt").read_bytes())


def hand_root(target: Store, root: Root) -> None:
    """The same for a store in a folder."""
    own = dataclasses.replace(root, id=origin_of(root), pinned=False)
    if root.id == own.id or not (target.root / "roots" / f"{own.id}.txt").exists():
        write_root(target.root, own)


def receive_root(store: Store, root: Root) -> None:
    """Keep a root that was pulled."""
    name = PULLED + origin_of(root)
    write_root(store.root, dataclasses.replace(root, id=name, pinned=False))
