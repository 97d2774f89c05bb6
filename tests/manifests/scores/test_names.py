"""Names in a file of scores find their video, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.scores.names import match_names

KNOWN = ["Abuse028_x264", "Normal_Videos_003_x264", "City.of.God.2002__#01-24-10_label_A"]
FILE = Path("scores.json")


@pytest.mark.parametrize(
    "given",
    [
        "Abuse028_x264",
        "Abuse028_x264.mp4",
        "abuse028_X264.MP4",
        "Abuse/Abuse028_x264.mp4",
        "C:\\videos\\Abuse028_x264.avi",
    ],
)
def test_folders_suffix_and_case_do_not_matter(given: str) -> None:
    assert match_names([given], KNOWN, FILE).known == {given: "Abuse028_x264"}


def test_dots_in_a_name_belong_to_it() -> None:
    given = "City.of.God.2002__#01-24-10_label_A"
    assert match_names([given], KNOWN, FILE).known == {given: given}
    with pytest.raises(ConfigError, match="'City'"):
        match_names(["City"], KNOWN, FILE)


def test_a_tag_is_left_out_where_every_name_has_it() -> None:
    given = [f"{name}__0" for name in KNOWN]
    found = match_names(given, KNOWN, FILE)
    assert list(found.known.values()) == KNOWN
    assert found.tag == "__0"
    assert match_names(["Abuse028_x264__9_gt.mp4"], KNOWN, FILE).tag == "__9_gt"


@pytest.mark.parametrize(
    "given",
    [
        [KNOWN[0], f"{KNOWN[1]}_pred"],
        [f"{KNOWN[0]}_a", f"{KNOWN[1]}_b"],
    ],
)
def test_a_tag_that_not_every_name_has_is_refused(given: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"the nearest known name is '{KNOWN[1]}'"):
        match_names(given, KNOWN, FILE)


def test_a_tag_that_could_be_two_is_refused() -> None:
    with pytest.raises(ConfigError, match="no video"):
        match_names(["fight_1_pred"], ["fight", "fight_1"], FILE)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"\(1\): 'Abuse029_x264'; the nearest .*Abuse028"):
        match_names([KNOWN[1], "Abuse029_x264"], KNOWN, FILE)


def test_of_many_unknown_names_ten_are_shown() -> None:
    with pytest.raises(ConfigError, match=r"\(12\): .*and 2 more"):
        match_names([f"zz{n}" for n in range(12)], KNOWN, FILE)


def test_videos_of_one_name_in_two_folders_are_told_apart_by_the_folder() -> None:
    known = ["east/door", "west/door", "yard"]
    found = match_names(["set/east/door.mp4", "West/door", "yard"], known, FILE)
    assert list(found.known.values()) == known
    with pytest.raises(ConfigError, match="'door' can mean 'east/door' and 'west/door'"):
        match_names(["door"], known, FILE)


def test_case_tells_apart_what_nothing_else_does() -> None:
    found = match_names(["Door", "door"], ["door", "Door"], FILE)
    assert found.known == {"Door": "Door", "door": "door"}


def test_two_names_of_one_video_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'yard' and 'YARD.mp4' are both scores of 'yard'"):
        match_names(["yard", "YARD.mp4"], ["yard"], FILE)
