"""What lies around the artifacts of a store: damage is told as that, strays as strays."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cache.errors import StoreError
from cache.layout import check_format
from cache.roots import Root, write_root
from cache.store import Store
from cache.surroundings import misfits
from tests.cache.stores import flip, key_of, publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    publish(store)
    for pinned in (False, True):
        root = Root("one~0123", "one", {"decode": {"a": key_of(0)}}, pinned=pinned)
        write_root(store.root, root)
    return store


def told(store: Store, *, damaged: bool = True) -> list[str]:
    return sorted(m.path for m in misfits(store) if m.damaged == damaged)


def test_a_store_as_it_should_be_has_no_misfits(store: Store) -> None:
    with store.draft("decode", 1, {}, {}), store.claims.hold("decode~x"):
        assert list(misfits(store)) == []


@pytest.mark.parametrize("name", ["format.json", "roots/one~0123.txt", "pins/one~0123.txt"])
def test_every_flipped_bit_of_a_mark_root_or_pin_is_told(store: Store, name: str) -> None:
    size = (store.root / name).stat().st_size * 8
    bits = range(size) if size < 400 else random.Random(4).sample(range(size), 150)
    for bit in bits:
        flip(store.root / name, bit)
        assert told(store) == [name], bit
        flip(store.root / name, bit)
    assert told(store) == []


def test_a_mark_with_another_number_is_told(store: Store) -> None:
    (store.root / "format.json").write_text('{"hiprobe_store":0}\n')
    check_format(store.root)
    assert told(store) == ["format.json"]
    (store.root / "format.json").unlink()
    with pytest.raises(StoreError):
        check_format(store.root)
    assert told(store) == ["format.json"]


def test_what_does_not_belong_is_a_stray(store: Store) -> None:
    key = key_of(0)
    other = "00" if key[:2] != "00" else "01"
    expected = ["notes", "decode/ab.txt", "decode/zz", f"decode/{key[:2]}/x", "roots/x",
                f"decode/{other}/{key}", ".DS_Store"]  # fmt: skip
    for name in expected:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).mkdir() if len(name) == 9 else (store.root / name).write_text("")
    assert told(store, damaged=False) == sorted(expected)
    assert told(store) == []
    misplaced = next(m for m in misfits(store) if m.path.endswith(f"{other}/{key}"))
    assert f"belongs into the folder {key[:2]}" in misplaced.message
