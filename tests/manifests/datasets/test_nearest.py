"""The nearest known name, without comparing with all of them."""

from __future__ import annotations

from difflib import get_close_matches

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.datasets.nearest import Names

MANY = [f"train/class{c:02}/video{v:04}_x264" for c in range(13) for v in range(500)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train/class07/video0123_x265", "train/class07/video0123_x264"),
        ("Train/class07/video0123_x264", "train/class07/video0123_x264"),
        ("class07/video0123_x264", "train/class07/video0123_x264"),
        ("data/train/class12/video0499_x264", "train/class12/video0499_x264"),
        ("train/clas07/video0123_x264", "train/class07/video0123_x264"),
        ("train/class07/video0123", "train/class07/video0123_x264"),
    ],
)
def test_a_slip_is_recognised_among_thousands(typed: str, meant: str) -> None:
    assert Names(MANY).nearest(typed) == meant


def test_nothing_is_named_where_nothing_is_alike() -> None:
    assert Names(MANY).hint("#") == ""
    assert Names([]).hint("x") == ""


def test_the_hint_names_it_in_quotes() -> None:
    assert Names(["it's"]).hint("its") == """; the nearest known name is "it's\""""


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text("abc/", max_size=6), max_size=30), st.text("abc/", max_size=6))
def test_few_names_are_all_compared(known: set[str], name: str) -> None:
    assert Names(known).nearest(name) == next(
        iter(get_close_matches(name, sorted(known), 1, 0.6)), None
    )
