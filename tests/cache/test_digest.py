"""Digests of files, and JSON files whose bytes follow from their value."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cache.digest import file_digest, read_json, write_json


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1])
def test_file_digest_is_the_sha256_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(data)
    assert file_digest(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_one_flipped_bit_is_another_digest(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\x00" * 100)
    (tmp_path / "two").write_bytes(b"\x00" * 99 + b"\x01")
    assert file_digest(tmp_path / "one") != file_digest(tmp_path / "two")


def test_json_bytes_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"b": [1, 2.5, None], "a": "é"})
    write_json(tmp_path / "two.json", {"a": "é", "b": (1, 2.5, None)})
    assert (tmp_path / "one.json").read_bytes() == b'{"a":"\\u00e9","b":[1,2.5,null]}\n'
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"text": "日本", "numbers": [1, -2.5e-300, True, None], "nested": {"": {}}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


def test_a_value_that_is_not_json_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_json(tmp_path / "value.json", {"auc": float("nan")})
    assert not (tmp_path / "value.json").exists()
