"""Every file operation of what changes a store fails, one after the other, and the store stays whole."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from cache import claims, shards
from cache.arrays import States, write_states
from cache.artifact import Artifact
from cache.catalog import load_catalog, save_catalog
from cache.errors import HiprobeError
from cache.eviction import evict
from cache.roots import Root, pin, read_roots, renew_root, unpin
from cache.store import Store
from cache.verify import examine, verify
from tests.cache.stores import PAYLOAD, RECIPE, digest_of, fill, inputs, key_of, publish
from tests.faults.kinds import Tally
from tests.faults.operations import break_each

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


@dataclass(frozen=True)
class Attack:
    """Something that changes a store, of which each operation is made to fail."""

    prepare: Callable[[Store, int], None]
    """Bring a store to where the action begins; the number stands for a video of its own."""
    act: Callable[[Store, int], object]
    check: Callable[[Store, int], None]
    """Raise where what can be seen after a failure is neither the old state nor the new one."""
    done: Callable[[Store, int], None]
    """Raise where the action, done again, has not done all."""


def _nothing(store: Store, number: int) -> None:
    return


def _publish(store: Store, number: int) -> None:
    publish(store, number)


def _publish_zarr(store: Store, number: int) -> None:
    blocks = (np.full((2, 1, 2, 4), start, "float32") for start in range(2))
    with (
        mock.patch.object(shards, "SHARD_ROWS", 2),
        store.draft("forward", 1, RECIPE, inputs(number)) as draft,
    ):
        write_states(
            draft.path / "states.zarr", blocks, segments=4, layers=[0, 1], dim=4,
            logical_dtype="float32",
        )  # fmt: skip
        store.publish(draft, rows=4)


def _found(store: Store, number: int, stage: str = "decode") -> Artifact | None:
    return store.find(stage, key_of(number, stage))


def _is_old_or_new(store: Store, number: int) -> None:
    found = _found(store, number)
    assert found is None or found.digest == digest_of(PAYLOAD)


def _is_published(store: Store, number: int) -> None:
    found = _found(store, number)
    assert found is not None
    assert found.digest == digest_of(PAYLOAD)


def _is_published_zarr(store: Store, number: int) -> None:
    found = _found(store, number, "forward")
    assert found is not None
    with mock.patch.object(shards, "SHARD_ROWS", 2):
        numbers = States.open(found.file("states.zarr")).layer(1)
    assert numbers[:, 0].tolist() == [0, 0, 1, 1]


def _evicted(store: Store, number: int) -> None:
    evict(store, "decode", publish(store, number).key)


def _evict(store: Store, number: int) -> None:
    if _found(store, number) is not None:
        evict(store, "decode", key_of(number))


def _is_evicted(store: Store, number: int) -> None:
    assert _found(store, number) is None
    record = store.record("decode", key_of(number))
    assert record is not None
    assert record.digest == digest_of(PAYLOAD)


def _has_a_record(store: Store, number: int) -> None:
    """It is there whole, or evicted with its record."""
    record = store.record("decode", key_of(number))
    assert record is not None
    assert record.digest == digest_of(PAYLOAD)
    assert examine(record, full=True) == ""


def _quarantine(store: Store, number: int) -> None:
    if _found(store, number) is not None:
        store.quarantine("decode", key_of(number))


def _is_set_aside(store: Store, number: int) -> None:
    assert _found(store, number) is None
    assert list((store.root / "quarantine").glob(f"decode~{key_of(number)}~*"))


def _is_here_or_there(store: Store, number: int) -> None:
    if _found(store, number) is None:
        _is_set_aside(store, number)


def _reach(number: int) -> Root:
    return Root("run~1", "run", {"decode": {"video": f"{number:064x}"}})


def _root(store: Store, number: int) -> None:
    renew_root(store.root, _reach(number), complete=True)


def _root_is_old_or_new(store: Store, number: int) -> None:
    reached = {keys["video"] for root in read_roots(store.root) for keys in root.reach.values()}
    assert not reached or reached & {f"{number:064x}", f"{number - 1:064x}"}


def _root_is_new(store: Store, number: int) -> None:
    (root,) = read_roots(store.root)
    assert root.reach == _reach(number).reach


def _pin(store: Store, number: int) -> None:
    name = f"pin-{number}"
    if not (store.root / "pins" / f"{name}.txt").exists():
        pin(store.root, name, [_reach(number)])


def _is_pinned(store: Store, number: int) -> None:
    (root,) = [root for root in read_roots(store.root) if root.id == f"pin-{number}"]
    assert root.reach == _reach(number).reach


def _unpinned(store: Store, number: int) -> None:
    unpin(store.root, f"pin-{number}")


def _without_catalog(store: Store, number: int) -> None:
    """A few artifacts, which the catalog has to look up again."""
    if number < 3:
        publish(store, number)
    (store.root / "catalog" / "decode.txt").unlink(missing_ok=True)


def _catalog(store: Store, number: int) -> None:
    save_catalog(store, load_catalog(store, ["decode"]))


def _catalog_is_true(store: Store, number: int) -> None:
    found = load_catalog(store, ["decode"])["decode"]
    assert found.digests == {key: digest_of(PAYLOAD) for key in store.keys("decode")}
    assert found.damaged == {}


def _claim(store: Store, number: int) -> None:
    with store.claims.hold(f"decode~{number}") as got:
        assert got


def _is_unclaimed(store: Store, number: int) -> None:
    with mock.patch.object(
        claims, "LEASE_S", -1.0
    ):  # one that could not be released ends with its lease
        store.claims.sweep()
    assert not store.claims.is_held(f"decode~{number}")


def _publish_one(store: Store, number: int) -> None:
    if not number:
        publish(store, 0)


def _is_swept(store: Store, number: int) -> None:
    _is_published(store, 0)
    assert [path.name for path in (store.root / "staging").iterdir()] == ["parts"]


def _sweep(store: Store, number: int) -> None:
    draft = store.root / "staging" / f"decode~nowhere~{number}~0"
    fill(draft, PAYLOAD)
    store.sweep(-1)


ATTACKS = {
    "publish": Attack(_nothing, _publish, _is_old_or_new, _is_published),
    "publish zarr": Attack(_nothing, _publish_zarr, _nothing, _is_published_zarr),
    "publish anew": Attack(_evicted, _publish, _has_a_record, _is_published),
    "evict": Attack(_publish, _evict, _has_a_record, _is_evicted),
    "quarantine": Attack(_publish, _quarantine, _is_here_or_there, _is_set_aside),
    "root": Attack(_nothing, _root, _root_is_old_or_new, _root_is_new),
    "pin": Attack(_nothing, _pin, _nothing, _is_pinned),
    "catalog": Attack(_without_catalog, _catalog, _catalog_is_true, _catalog_is_true),
    "claim": Attack(_nothing, _claim, _is_unclaimed, _is_unclaimed),
    "sweep": Attack(_publish_one, _sweep, _nothing, _is_swept),
}
"""What is attacked, by name."""


def attack(name: str, root: Path, error: int, *, forever: bool) -> int:
    """Let the 1st, 2nd, ... operation fail until all pass; returns how many were made to fail."""
    this, store, number = ATTACKS[name], Store.open(root), 0
    this.prepare(store, number)

    def act() -> None:
        this.act(store, number)

    for number, raised in break_each(root, act, error, forever=forever):
        _expect(raised, error)
        this.check(store, number - 1)
        this.act(store, number - 1)
        this.done(store, number - 1)
        this.prepare(store, number)
    return number


def _expect(raised: BaseException | None, error: int) -> None:
    """What was raised says what went wrong: the very error, or one of ours about it."""
    fine = raised is None or isinstance(raised, HiprobeError)
    assert fine or (isinstance(raised, OSError) and raised.errno == error), repr(raised)


def break_operations(rng: random.Random, folder: Path) -> Tally:
    """Every attack with every error, once and from then on."""
    tally = Tally()
    for name, error, forever in _all(rng):
        root = folder / "store"
        count = attack(name, root, error, forever=forever)
        assert list(verify(Store(root), full=True)) == []
        tally.tried += count
        tally.survived += count
        tally.figures[name] += count
        shutil.rmtree(root)
    return tally


def _all(rng: random.Random) -> Iterator[tuple[str, int, bool]]:
    everything = [(n, e, f) for n in ATTACKS for e in ERRORS for f in (False, True)]
    yield from rng.sample(everything, len(everything))
