"""Names of videos: whole, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.datasets.contract import SUFFIXES
from manifests.datasets.names import bare_name, folded

NAMES = (
    st.text(st.sampled_from("aZ0.#=_-() é日ß'%+"), min_size=1, max_size=30)
    .filter(lambda name: name == name.strip())
    .filter(lambda name: not name.lower().endswith(SUFFIXES))
)
SUFFIX = st.sampled_from(SUFFIXES).flatmap(lambda s: st.sampled_from(["", s, s.upper(), s.title()]))
FOLDERS = st.lists(NAMES, max_size=3)


@given(name=NAMES, suffix=SUFFIX, folders=FOLDERS, slash=st.sampled_from("/\\"))
def test_folders_and_one_suffix_come_off_and_all_else_stays(
    name: str, suffix: str, folders: list[str], slash: str
) -> None:
    assert bare_name(slash.join([*folders, name + suffix])) == name
    assert bare_name(f"  {name}{suffix}\r\n") == name


@given(name=NAMES, one=SUFFIX, two=SUFFIX)
def test_case_and_a_second_suffix_make_no_other_name(name: str, one: str, two: str) -> None:
    key = folded(bare_name(name))
    for spelling in (name, name.upper(), name.lower()):
        if spelling.casefold() == name.casefold():  # not so where upper and lower are no pair
            assert folded(bare_name(spelling + one + two)) == key


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Abuse/Abuse001_x264.mp4", "Abuse001_x264"),
        ("frames/Abuse/Abuse001_x264.mp4", "Abuse001_x264"),
        ("v=U6MC8JJJZSY__#1_label_G-0-0.mp4", "v=U6MC8JJJZSY__#1_label_G-0-0"),
        ("City.of.God.2002__#01-24-10_label_B2-0-0", "City.of.God.2002__#01-24-10_label_B2-0-0"),
        ("a.b.c", "a.b.c"),
    ],
)
def test_names_of_the_published_lists(text: str, name: str) -> None:
    assert bare_name(text) == name
