"""Tables: what is written is read, what is not ours is refused, and digests follow the values."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import DamagedArtifact, StoreTooNew
from manifests import table as tables
from manifests.columns import Column, TableSchema
from manifests.schema import ALL
from manifests.table import (
    arrow_schema,
    footer_of,
    make_table,
    read_table,
    table_digest,
    write_arrow,
    write_table,
)

EACH = pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "binary": st.binary(max_size=6),
}
SMALL = TableSchema(
    "small",
    2,
    "for these tests",
    (
        Column("id", "string", "name"),
        Column("count", "int64", "a number", nullable=True),
        Column("share", "float64", "a number", nullable=True),
        Column("sound", "bool", "a truth value", nullable=True),
        Column("image", "binary", "bytes", nullable=True),
    ),
    ("id",),
)
ROWS: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d"],
    "count": [1, None, 0, 4],
    "share": [0.5, 0.0, None, -1.0],
    "sound": [True, False, None, True],
    "image": [b"x", b"", None, b"yz"],
}


def columns_of(schema: TableSchema, data: st.DataObject, rows: int) -> dict[str, list[Any]]:
    def value(column: Column) -> st.SearchStrategy[Any]:
        return VALUES[column.type] | st.none() if column.nullable else VALUES[column.type]

    return {
        c.name: data.draw(st.lists(value(c), min_size=rows, max_size=rows)) for c in schema.columns
    }


@EACH
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_every_table_is_read_as_it_was_written_sorted(
    schema: TableSchema, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    columns = columns_of(schema, data, data.draw(st.integers(0, 5)))
    path = tmp_path_factory.mktemp("round") / "table.parquet"
    write_table(path, schema, columns)
    found = read_table(path, schema)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows.sort(key=lambda row: tuple(row[name] for name in schema.sort))
    assert found.column_names == list(schema.names)
    assert found.schema == arrow_schema(schema)
    # rows that tie in the sort columns may come in any order
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, rows))
    assert [[row[n] for n in schema.sort] for row in found.to_pylist()] == [
        [row[n] for n in schema.sort] for row in rows
    ]


@EACH
def test_the_footer_names_the_table_and_its_version(schema: TableSchema, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, schema, dict.fromkeys(schema.names, ()), {"source": "x"})
    assert footer_of(path) == {
        "table": schema.name,
        "version": str(schema.version),
        "source": "x",
    }


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    order = [2, 0, 3, 1]
    shuffled = {name: [values[i] for i in order] for name, values in ROWS.items()}
    write_table(tmp_path / "one", SMALL, ROWS)
    write_table(tmp_path / "two", SMALL, shuffled)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_columns_that_are_missing_unknown_or_null_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"table small: columns .* given"):
        make_table(SMALL, {k: v for k, v in ROWS.items() if k != "share"})
    with pytest.raises(ValueError, match=r"table small: columns .*'more'.* given"):
        make_table(SMALL, {**ROWS, "more": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="column id must not hold nulls"):
        make_table(SMALL, {**ROWS, "id": ["a", None, "c", "d"]})


def test_some_columns_can_be_read(tmp_path: Path) -> None:
    write_table(tmp_path / "t", SMALL, ROWS)
    found = read_table(tmp_path / "t", SMALL, columns=["count"])
    assert found.to_pydict() == {"count": ROWS["count"]}


def test_a_newer_version_is_refused_by_name_and_an_older_one_is_read(tmp_path: Path) -> None:
    newer = TableSchema("small", 3, SMALL.doc, SMALL.columns, SMALL.sort)
    write_table(tmp_path / "new", newer, ROWS)
    with pytest.raises(StoreTooNew, match=r"new: table small has version 3.*reads up to 2.*newer"):
        read_table(tmp_path / "new", SMALL)
    write_table(tmp_path / "old", SMALL, ROWS)
    assert read_table(tmp_path / "old", newer).num_rows == 4


def test_another_table_is_refused_by_name(tmp_path: Path) -> None:
    other = TableSchema("other", 1, SMALL.doc, SMALL.columns, SMALL.sort)
    write_table(tmp_path / "t", other, ROWS)
    with pytest.raises(DamagedArtifact, match="t holds the table 'other', expected 'small'"):
        read_table(tmp_path / "t", SMALL)


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "t")
    with pytest.raises(DamagedArtifact, match="t holds the table '', expected 'small'"):
        read_table(tmp_path / "t", SMALL)
    assert footer_of(tmp_path / "t") == {}


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, keep: int) -> None:
    write_table(tmp_path / "t", SMALL, ROWS)
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:keep])
    with pytest.raises(DamagedArtifact, match="t is not a readable Parquet file"):
        read_table(tmp_path / "t", SMALL)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "t", SMALL)


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "t", SMALL, ROWS)
    before = (tmp_path / "t").read_bytes()

    def fail(table: pa.Table, path: Path, **options: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", fail)
    with pytest.raises(OSError, match="No space"):
        write_arrow(tmp_path / "t", make_table(SMALL, ROWS))
    assert (tmp_path / "t").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def digest_of(path: Path, columns: dict[str, list[Any]], schema: TableSchema = SMALL) -> str:
    write_table(path, schema, columns)
    return table_digest(path)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip"])
@pytest.mark.parametrize("row_group_size", [1, 3, 1000])
def test_the_digest_does_not_depend_on_how_the_file_is_laid_out(
    tmp_path: Path, compression: str, row_group_size: int
) -> None:
    expected = digest_of(tmp_path / "one", ROWS)
    whole = make_table(SMALL, ROWS)
    chunked = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 3)])
    assert chunked.column(0).num_chunks > 1
    pq.write_table(
        chunked, tmp_path / "two", compression=compression, row_group_size=row_group_size,
        use_dictionary=False, data_page_version="2.0", write_statistics=False,
    )  # fmt: skip
    assert (tmp_path / "two").read_bytes() != (tmp_path / "one").read_bytes()
    assert table_digest(tmp_path / "two") == expected


def test_the_digest_depends_on_every_value(tmp_path: Path) -> None:
    others: dict[str, Any] = {
        "id": "e", "count": 9, "share": 0.25, "sound": False, "image": b"other"
    }  # fmt: skip
    others_if_equal: dict[str, Any] = {"sound": True}
    found = {digest_of(tmp_path / "t", ROWS)}
    for name, values in ROWS.items():
        for place, value in enumerate(values):
            changed = others[name] if value != others[name] else others_if_equal[name]
            columns = {**ROWS, name: [*values[:place], changed, *values[place + 1 :]]}
            found.add(digest_of(tmp_path / "t", columns))
    # "e" in the place of each id sorts the row last, so all of them are different tables
    assert len(found) == 1 + 5 * 4


@pytest.mark.parametrize(
    ("name", "zero"), [("count", 0), ("share", 0.0), ("sound", False), ("image", b"")]
)
def test_null_is_not_zero(tmp_path: Path, name: str, zero: Any) -> None:
    columns = {**ROWS, name: [zero] * 4}
    nulls = {**ROWS, name: [zero, None, zero, zero]}
    assert digest_of(tmp_path / "one", columns) != digest_of(tmp_path / "two", nulls)


def test_neighbouring_texts_cannot_flow_into_one_another(tmp_path: Path) -> None:
    one = digest_of(tmp_path / "one", {**ROWS, "image": [b"ab", b"c", b"", b""]})
    two = digest_of(tmp_path / "two", {**ROWS, "image": [b"a", b"bc", b"", b""]})
    assert one != two


def test_the_digest_depends_on_type_name_and_order_of_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "int32")
    pq.write_table(pa.table({"a": pa.array([1], pa.int64())}), tmp_path / "int64")
    pq.write_table(pa.table({"b": pa.array([1], pa.int64())}), tmp_path / "name")
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "ab")
    pq.write_table(pa.table({"b": [2], "a": [1]}), tmp_path / "ba")
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "empty")
    names = ("int32", "int64", "name", "ab", "ba", "empty")
    assert len({table_digest(tmp_path / name) for name in names}) == len(names)


@EACH
def test_an_empty_table_has_a_digest_too(schema: TableSchema, tmp_path: Path) -> None:
    empty: dict[str, list[Any]] = {name: [] for name in schema.names}
    assert digest_of(tmp_path / "t", empty, schema) == digest_of(tmp_path / "u", empty, schema)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_equal_tables_have_equal_digests_and_others_do_not(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("digest")
    one = columns_of(SMALL, data, 3)
    two = columns_of(SMALL, data, 3) if data.draw(st.booleans()) else one
    equal = repr(make_table(SMALL, one).to_pylist()) == repr(make_table(SMALL, two).to_pylist())
    assert (digest_of(folder / "one", one) == digest_of(folder / "two", two)) == equal


def test_golden_digest(tmp_path: Path) -> None:
    """What downstream keys rest on: it must be the same with every version of pyarrow."""
    assert digest_of(tmp_path / "t", ROWS) == naive_digest()
    assert naive_digest() == "c487e4e94a2034933d0fd423c895d00057baab8983cb1beaad5f2b7944bed336"


def naive_digest() -> str:
    """ROWS by hand: per column a head, packed validity and then values, each after its length."""

    def sized(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data

    def lengths(*sizes: int) -> bytes:
        return sized(struct.pack(f"<{len(sizes)}q", *sizes))

    parts = [
        b"id:string:4;", sized(b"\xf0"), lengths(1, 1, 1, 1), sized(b"abcd"),
        b"count:int64:4;", sized(b"\xb0"), sized(struct.pack("<4q", 1, 0, 0, 4)),
        b"share:double:4;", sized(b"\xd0"), sized(struct.pack("<4d", 0.5, 0.0, 0.0, -1.0)),
        b"sound:bool:4;", sized(b"\xd0"), sized(bytes([1, 0, 0, 1])),
        b"image:binary:4;", sized(b"\xd0"), lengths(1, 0, 0, 2), sized(b"xyz"),
    ]  # fmt: skip
    return hashlib.sha256(b"".join(parts)).hexdigest()
