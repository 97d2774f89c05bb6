"""No room on a disk: the message has the figures, and hides nothing that was said before."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from cache.errors import RunStopped
from cache.store import Store
from pipeline.events import Events
from pipeline.room import measured, stops_when_full, text_for_item
from tests.cache.stores import RECIPE, inputs, publish


def no_space(path: Path | None = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([str(path)] if path else []))


def test_an_item_says_what_it_had_written_and_what_others_take(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    largest = publish(store, 1, {"big": b"x" * 54_321}).commit.bytes
    publish(store, 2, {"small": b"x"})

    def make() -> None:
        with store.draft("decode", 1, RECIPE, inputs(3)) as draft, measured(store, draft):
            (draft.path / "half").write_bytes(b"x" * 12_345)
            raise no_space()

    with pytest.raises(OSError, match="No space") as caught:
        make()
    text = text_for_item(store, "decode", "a/b", caught.value)
    needed, free = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) bytes", text))
    assert needed > 12_345 + free * 0.9, "what was free was not enough for the rest"
    assert "decode of a/b" in text
    assert "had written 12,345" in text
    assert f"items of up to {largest:,}" in text
    assert list((store.root / "staging").iterdir()) == [store.root / "staging" / "parts"]


def test_any_other_place_says_what_is_free(tmp_path: Path) -> None:
    with pytest.raises(RunStopped) as caught, stops_when_full(tmp_path / "not" / "there"):
        raise no_space(tmp_path / "results" / "metrics.json")
    text = str(caught.value)
    assert text.startswith(f"no space left in {tmp_path}: metrics.json needs at least")
    needed, free = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) bytes", text))
    assert needed > free


@pytest.mark.parametrize(
    "first", [RunStopped("the disk of the store is full"), KeyboardInterrupt()]
)
def test_what_ended_the_run_is_said_and_not_what_came_on_the_way_out(
    tmp_path: Path, first: BaseException
) -> None:
    def leave() -> None:
        try:
            raise first
        finally:
            raise no_space()

    with pytest.raises(type(first)) as caught, stops_when_full(tmp_path):
        leave()
    assert caught.value is first


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), stops_when_full(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Events(path).add("run", until="fit")
    with path.open("a") as file:
        file.write('{"time": "2026-')
    again = Events(path)
    again.add("item", item="a")
    again.add("item", item="b")
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in (lines[0], *lines[2:])] == ["run", "item", "item"]
