"""Parquet tables with a schema name and version in the footer, written atomically."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import DamagedArtifact, StoreTooNew
from manifests.columns import TableSchema

_TYPES: dict[str, Any] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "binary": pa.binary(),
}


def arrow_schema(schema: TableSchema, extra: Mapping[str, str] | None = None) -> pa.Schema:
    """The Arrow schema of a table, with name and version (and `extra`) as its metadata."""
    metadata = {"hiprobe.table": schema.name, "hiprobe.version": str(schema.version)}
    metadata.update({f"hiprobe.{name}": text for name, text in (extra or {}).items()})
    fields = [pa.field(c.name, _TYPES[c.type], nullable=c.nullable) for c in schema.columns]
    return pa.schema(fields, metadata=metadata)


def make_table(
    schema: TableSchema,
    columns: Mapping[str, Any],
    extra: Mapping[str, str] | None = None,
) -> pa.Table:
    """A sorted Arrow table of `schema` from its columns (lists or NumPy arrays).

    Raises ValueError where a column is missing, unknown, or holds nulls that it must not.
    """
    if set(columns) != set(schema.names):
        raise ValueError(
            f"table {schema.name}: columns {sorted(columns)} given, {sorted(schema.names)} expected"
        )
    target = arrow_schema(schema, extra)
    arrays = [pa.array(columns[field.name], type=field.type) for field in target]
    for field, array in zip(target, arrays, strict=True):
        if array.null_count and not field.nullable:
            raise ValueError(f"table {schema.name}: column {field.name} must not hold nulls")
    table = pa.Table.from_arrays(arrays, schema=target)
    return table.sort_by([(name, "ascending") for name in schema.sort])


def write_table(
    path: Path,
    schema: TableSchema,
    columns: Mapping[str, Any],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a table (zstd) beside its place and rename it there in one step."""
    write_arrow(path, make_table(schema, columns, extra))


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write an Arrow table that `make_table` made, atomically."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        pq.write_table(table, draft, compression="zstd")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_table(path: Path, schema: TableSchema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table and check that it is one of `schema`, not newer than this version knows.

    Raises StoreTooNew for a newer version, DamagedArtifact for a file that is no such table,
    FileNotFoundError where there is none.
    """
    try:
        # ParquetFile and not pq.read_table, which brings in pandas for nothing.
        with pq.ParquetFile(path) as file:
            footer = file.metadata.metadata or {}
            _check_footer(path, footer, schema)
            return file.read(columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedArtifact(f"{path.name} is not a readable Parquet file: {error}") from error


def _check_footer(path: Path, footer: Mapping[bytes, bytes], schema: TableSchema) -> None:
    name = footer.get(b"hiprobe.table", b"").decode()
    said = footer.get(b"hiprobe.version", b"0").decode()
    if not said.isdigit():
        raise DamagedArtifact(f"{path.name}: its footer gives {said!r} as the table's version")
    version = int(said)
    if name != schema.name:
        raise DamagedArtifact(f"{path.name} holds the table {name!r}, expected {schema.name!r}")
    if version > schema.version:
        raise StoreTooNew(
            f"{path.name}: table {name} has version {version}, this hiprobe reads up to "
            f"{schema.version}; install a newer hiprobe"
        )


def footer_of(path: Path) -> dict[str, str]:
    """The hiprobe entries of a table's footer, by their short names."""
    footer = pq.read_metadata(path).metadata or {}
    prefix = b"hiprobe."
    return {
        k[len(prefix) :].decode(): v.decode() for k, v in footer.items() if k.startswith(prefix)
    }


def table_digest(path: Path) -> str:
    """sha256 over what a Parquet table says: column names, types, validity and values.

    The bytes of a Parquet file hold the version of the library that wrote it; this digest does not
    change with it.
    """
    with pq.ParquetFile(path) as file:
        table = file.read()
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}:{column.type}:{len(column)};".encode())
        for value in _plain_buffers(column):
            digest.update(len(value).to_bytes(8, "little"))
            digest.update(value)
    return digest.hexdigest()


def _plain_buffers(column: pa.ChunkedArray) -> list[bytes]:
    """A column's validity and values as bytes that do not depend on chunks or offsets."""
    import numpy as np

    valid = column.is_valid().combine_chunks().to_numpy(zero_copy_only=False)
    parts = [np.packbits(valid).tobytes()]
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        values = [
            (v.encode() if isinstance(v, str) else v) if v is not None else b""
            for v in column.to_pylist()
        ]
        parts.append(np.asarray([len(v) for v in values], dtype="<i8").tobytes())
        parts.append(b"".join(values))
    else:
        filled = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
        parts.append(filled.combine_chunks().to_numpy(zero_copy_only=False).tobytes())
    return parts
