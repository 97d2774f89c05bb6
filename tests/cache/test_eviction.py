"""Eviction: the payload goes, the record stays, and whoever is interrupted is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.artifact import EVICTED
from cache.catalog import load_catalog
from cache.errors import DamagedArtifact, EvictedArtifact, MissingArtifact
from cache.eviction import evict, finish_all
from cache.store import Store
from tests.cache.stores import PAYLOAD, fill, findings, key_of, publish, staged


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_an_evicted_artifact_is_a_record_without_a_payload(store: Store) -> None:
    made = publish(store, 0)
    digest, read = made.digest, made.file("states.zarr")
    assert evict(store, "decode", key_of(0)) == sum(map(len, PAYLOAD.values()))
    assert store.find("decode", key_of(0)) is None
    kept = store.record("decode", key_of(0))
    assert kept is not None
    assert (kept.evicted, kept.digest) == (True, digest)
    assert [p.name for p in kept.path.iterdir()] == ["commit.json"]
    with pytest.raises(EvictedArtifact, match="run again, which makes it"):
        store.artifact("decode", key_of(0))
    with pytest.raises(EvictedArtifact):
        kept.file("table.bin")
    # Who had opened it before is told, and not given something else.
    with pytest.raises(MissingArtifact, match="evicted, collected or set aside while"):
        made.file("states.zarr")
    assert not read.exists()
    (catalog,) = load_catalog(store, ["decode"]).values()
    assert (catalog.digests, catalog.evicted) == ({key_of(0): digest}, {key_of(0)})
    assert findings(store) == []
    assert staged(store) == []
    # Made again it is whole, and nothing of the old is left.
    publish(store, 0)
    assert store.artifact("decode", key_of(0)).digest == digest
    assert not kept.path.exists()


def test_evicting_twice_or_what_is_not_there_is_told(store: Store) -> None:
    publish(store, 0)
    evict(store, "decode", key_of(0))
    for number in (0, 1):
        with pytest.raises(MissingArtifact):
            evict(store, "decode", key_of(number))
    assert store.record("decode", key_of(0)) is not None


def test_what_has_no_readable_record_is_not_evicted(store: Store) -> None:
    """Nothing could go by such a record: the payload would be all that is left."""
    made = publish(store, 0)
    (made.path / "commit.json").write_text("{")
    with pytest.raises(DamagedArtifact):
        evict(store, "decode", key_of(0))
    assert (made.path / "table.bin").exists()


def test_an_eviction_that_was_interrupted_is_finished(store: Store) -> None:
    made = publish(store, 0)
    made.path.rename(made.path.with_name(key_of(0) + EVICTED))
    assert store.find("decode", key_of(0)) is None
    assert finish_all(store) == sum(map(len, PAYLOAD.values()))
    assert finish_all(store) == 0
    record = store.record("decode", key_of(0))
    assert record is not None
    assert [p.name for p in record.path.iterdir()] == ["commit.json"]


def test_what_was_made_again_beside_its_evicted_record_can_be_evicted_again(store: Store) -> None:
    """Whoever made it again was killed before he could remove the record."""
    publish(store, 0)
    evict(store, "decode", key_of(0))
    target = store.folder("decode", key_of(0))
    record = (target.with_name(key_of(0) + EVICTED) / "commit.json").read_bytes()
    publish(store, 0)
    fill(target.with_name(key_of(0) + EVICTED), {"commit.json": record})
    assert store.find("decode", key_of(0)) is not None
    evict(store, "decode", key_of(0))
    assert store.find("decode", key_of(0)) is None
    assert findings(store) == []
