"""What a table is: columns with a type and a meaning, a name and a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["string", "bool", "int32", "int64", "float64", "binary"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: ColumnType
    doc: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One kind of table: name and version stand in the footer of every file of it."""

    name: str
    version: int
    doc: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...]
    """Rows are sorted by these columns."""

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)
