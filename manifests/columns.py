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


VIDEO_ID = Column("video_id", "string", "path relative to the data set root, without its suffix")
SPAN = (
    Column("start_frame", "int32", "first frame, counted from 0 in presentation order"),
    Column("end_frame", "int32", "one past the last frame"),
    Column("start_s", "float64", "presentation time of the first frame, seconds"),
    Column("end_s", "float64", "time at which the last frame ends, seconds"),
)
SEGMENT = Column("segment", "int32", "number of the segment in its video, from 0")
SPLIT = Column("split", "string", "train, test, or empty where none was given")
LAYER = Column("layer", "int32", "0 is the embedding output, l the output of decoder layer l")
