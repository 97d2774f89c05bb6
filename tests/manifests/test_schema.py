"""The tables' definitions agree with themselves."""

from __future__ import annotations

import pytest

from manifests import schema
from manifests.columns import TableSchema
from manifests.schema import ALL

EACH = pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)


def test_every_table_of_the_module_is_in_all_and_names_are_unique() -> None:
    defined = [value for value in vars(schema).values() if isinstance(value, TableSchema)]
    assert {table.name for table in defined} == {table.name for table in ALL}
    assert len({table.name for table in ALL}) == len(ALL) == len(defined)


@EACH
def test_columns_are_unique_documented_and_sorted_by_some_of_them(table: TableSchema) -> None:
    assert len(set(table.names)) == len(table.names)
    assert set(table.sort) <= set(table.names)
    assert table.sort
    assert table.version >= 1
    assert table.doc
    assert all(column.doc for column in table.columns)


@EACH
def test_no_column_that_rows_are_sorted_by_may_be_null(table: TableSchema) -> None:
    assert not [c.name for c in table.columns if c.name in table.sort and c.nullable]


@pytest.mark.parametrize("name", ["SMOOTHED", "INTERVALS", "EXPLANATIONS"])
def test_the_table_of_a_run_is_the_table_of_a_video_with_the_video_in_front(name: str) -> None:
    one: TableSchema = getattr(schema, name)
    run: TableSchema = getattr(schema, "RUN_SCORES" if name == "SMOOTHED" else f"RUN_{name}")
    assert run.names == ("video_id", *one.names)
    assert run.sort == ("video_id", *one.sort)
    assert run.version == one.version
