"""`hiprobe cache verify` and `repair`: what is looked at, in turns or by choice, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.roots import Root, write_root
from cache.store import Store
from cache.verify import verify
from tests.cache.stores import findings, flip, key_of, publish
from tests.conftest import Called

Hiprobe = Callable[..., Called]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four artifacts of two stages; a run reaches two of them."""
    store = Store.open(tmp_path / "store")
    for number in range(3):
        publish(store, number)
    publish(store, 0, stage="sample")
    reach = {"decode": {"a": key_of(0)}, "sample": {"a": key_of(0, "sample")}}
    write_root(store.root, Root("monday~0123", "monday", reach))
    return store


def looked(hiprobe: Hiprobe, store: Store, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = hiprobe("cache", "verify", store.root, "--json", *words).value()
    return found


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 4),
        (("--stage", "decode"), 3),
        (("--stage", "decode", "--stage", "sample"), 4),
        (("--run", "monday"), 2),
        (("--run", "monday~0123", "--stage", "sample"), 1),
        (("--id", key_of(1)[:9]), 1),
    ],
)
def test_what_is_chosen_is_looked_at(
    store: Store, hiprobe: Hiprobe, words: tuple[str, ...], count: int
) -> None:
    value = looked(hiprobe, store, *words)
    assert (value["artifacts"], value["of"], value["full"]) == (count, count, False)
    assert value["covered"] is None
    left_out = " ".join(value["not_looked_at"])
    assert "the bytes of the payloads" in left_out
    assert ("what was not selected" in left_out) == bool(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stage", "decod"), "did you mean decode?"),
        (("--run", "mondey"), "did you mean monday?"),
        (("--id", "zz"), "0 artifacts have a key that begins so"),
        (("--for", "ten minutes"), "such as 30d, 12h, 10m"),
        (("--for", "-5m"), "such as 30d, 12h, 10m"),
    ],
)
def test_what_is_not_there_is_refused(
    store: Store, hiprobe: Hiprobe, words: tuple[str, ...], message: str
) -> None:
    called = hiprobe("cache", "verify", store.root, *words)
    assert called.code == 2
    assert message in called.out


def test_an_id_that_several_have_is_refused_with_them(store: Store, hiprobe: Hiprobe) -> None:
    publish(store, 0, stage="score")
    number = next(n for n in range(100) if key_of(n)[0] == key_of(0)[0] and n)
    publish(store, number)
    called = hiprobe("cache", "verify", store.root, "--id", key_of(0)[0])
    assert called.code == 2
    assert f"decode/{key_of(number)[:16]}" in called.out
    assert "give more digits" in called.out


def test_checks_of_no_time_come_round_one_by_one_and_say_since_when(
    store: Store, hiprobe: Hiprobe
) -> None:
    for turn in (1, 2, 3, 4):
        value = looked(hiprobe, store, "--for", "0.000001s")
        assert (value["artifacts"], value["of"], value["full"]) == (1, 4, True)
        assert (value["covered"]["read"], value["covered"]["of"]) == (turn, 4)
    text = hiprobe("cache", "verify", store.root, "--for", "0.000001s").out
    assert "1 of 4 artifacts looked at (every byte), 0 damaged" in text
    assert "every artifact was read in full since 2" in text
    flip(store.folder("decode", key_of(2)) / "table.bin", 3)
    codes = [hiprobe("cache", "verify", store.root, "--for", "0.000001s").code for _ in range(4)]
    assert codes[-1] == 5
    assert codes == sorted(codes), "what is damaged is due as long as it lies there"
    covered = []
    for _ in range(3):
        found = hiprobe("cache", "verify", store.root, "--for", "0.000001s")
        assert found.code == 5
        assert "2 of 4 artifacts looked at" in found.out, "and keeps no other from its turn"
        covered.append("3 of 4 artifacts were read in full" in found.out)
    assert covered == [True, True, True]


def test_repair_sets_aside_what_was_chosen_and_only_that(store: Store, hiprobe: Hiprobe) -> None:
    for number in (0, 1):
        flip(store.folder("decode", key_of(number)) / "table.bin", 3)
    assert hiprobe("cache", "repair", store.root).code == 0  # quick: nothing is seen
    assert len(findings(store)) == 2
    called = hiprobe("cache", "repair", store.root, "--full", "--run", "monday")
    assert called.code == 0
    assert "1 artifacts were set aside; the next run makes them again" in called.out
    assert [key for key in store.keys("decode") if key == key_of(0)] == []
    assert len(findings(store)) == 1
    found = hiprobe("cache", "verify", store.root, "--full")
    assert found.code == 5
    assert "1 artifacts are damaged: `hiprobe cache repair` sets them aside" in found.out
    assert hiprobe("cache", "repair", store.root, "--full", "--id", key_of(1)).code == 0
    assert hiprobe("cache", "verify", store.root, "--full").code == 0


def test_a_root_is_told_and_left_to_its_run(store: Store, hiprobe: Hiprobe) -> None:
    """Without it, garbage collection would not know what the run needs; it refuses instead."""
    path = store.root / "roots" / "monday~0123.txt"
    flip(path, 999)
    for command in ("verify", "repair"):
        called = hiprobe("cache", command, store.root)
        assert called.code == 5
        assert "roots/monday~0123.txt cannot be read" in called.out
    assert path.exists()


def test_a_shared_store_is_looked_at_when_asked_and_never_changed(
    tmp_path: Path, store: Store, hiprobe: Hiprobe
) -> None:
    own = Store.open(tmp_path / "own")
    publish(own, 5)
    publish(own, 1)
    config = tmp_path / "run.toml"
    config.write_text('[run]\nstore = "own"\n[cache]\nshared = ["store"]\n')
    for number in (0, 1):
        flip(store.folder("decode", key_of(number)) / "table.bin", 3)
    assert (
        "1 shared stores (--shared looks at them, too)"
        in hiprobe("cache", "verify", config, "--full").out
    )
    found = hiprobe("cache", "verify", config, "--full", "--shared", "--json")
    assert found.code == 5
    # As JSON it is printed on a failure, too: text and value are one.
    assert str(store.root) in found.out
    before = sorted(path for path in store.root.rglob("*") if "catalog" not in path.parts)
    called = hiprobe("cache", "repair", config, "--full", "--shared")
    assert called.code == 5, "the one that this store has itself is not in use: it is only told"
    assert sorted(p for p in store.root.rglob("*") if "catalog" not in p.parts) == before
    over = Store(own.root, (store.root,))
    assert over.find("decode", key_of(0)) is None
    assert over.find("decode", key_of(2)) is not None
    assert own.find("decode", key_of(1)) is not None
    again = hiprobe("cache", "verify", config, "--full", "--shared").out
    assert "1 artifacts of" in again
    assert "found damaged before" in again


def test_what_cannot_be_read_from_here_is_neither_sound_nor_damaged(
    store: Store, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache import verify as module

    def refused(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(module.os, "open", refused)
    (one, *_) = list(verify(store, ["sample"], full=True))
    assert not one.damaged
    assert "Permission denied" in one.message
    called = hiprobe("cache", "repair", store.root, "--full")
    assert called.code == 5
    assert "not judged: it cannot be read from here" in called.out
    monkeypatch.undo()
    assert findings(store) == []
    assert len(store.keys("decode")) == 3, "nothing was set aside"


def test_a_store_of_large_artifacts_is_read_by_threads_with_the_same_findings(
    tmp_path: Path, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache import verify as module

    monkeypatch.setattr(module, "LARGE", 100)
    store = Store.open(tmp_path / "store")
    for number in range(12):
        publish(store, number, {"a": bytes(50 if number % 3 else 200)})
    for number in (0, 3, 7):
        flip(store.folder("decode", key_of(number)) / "a", 3)
    values = [looked_keys(hiprobe, store, threads) for threads in ("1", "2", "5")]
    assert values[0] == values[1] == values[2] == sorted(key_of(n) for n in (0, 3, 7))


def looked_keys(hiprobe: Hiprobe, store: Store, threads: str) -> list[str]:
    import json

    called = hiprobe("cache", "verify", store.root, "--full", "--threads", threads, "--json")
    value = json.loads(called.out)
    assert value["artifacts"] == 12
    return sorted(finding["key"] for finding in value["findings"])
