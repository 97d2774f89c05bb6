"""Pictures that can stand beside one another in a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from stages.reporting.drawing import INK, drawing, finish, place


def draw(prefix: str = "p", title: str = "t", description: str = "d") -> Markup:
    with drawing(300, 120) as figure:
        axes = place(figure, 40, 10, 20, 30)
        axes.broken_barh([(0, 1)], (0, 1), facecolor="none", edgecolor=INK, hatch="////")
        axes.plot([0.0, 1.0], [1 / 3, 2 / 3], color=INK)
        axes.text(0, 0, "a < b & c $x_1$")
        return finish(figure, prefix, title, description)


class Words(HTMLParser):
    """The text of the elements named `title` and `desc`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self.inside = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        if self.inside in ("title", "desc"):
            self.found[self.inside] = self.found.get(self.inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def test_the_same_picture_is_the_same_text() -> None:
    assert draw() == draw()


def test_settings_of_the_user_change_nothing_and_stay_as_they_are() -> None:
    plain = draw()
    with matplotlib.rc_context({"font.size": 33, "axes.facecolor": "red", "svg.hashsalt": None}):
        assert draw() == plain
        assert matplotlib.rcParams["font.size"] == 33


def test_the_picture_holds_no_date_no_font_and_no_style_for_the_whole_page() -> None:
    text = draw()
    for unwanted in (
        "<?xml",
        "DOCTYPE",
        "<metadata",
        "<style",
        "font-family",
        "xlink",
        "Matplotlib",
    ):
        assert unwanted not in text


def test_colours_are_left_to_the_page() -> None:
    text = draw()
    assert "stroke: var(--ink)" in text
    assert not re.search(r"#0\d0\d0\d", text)


def test_text_is_text() -> None:
    assert ">a &lt; b &amp; c $x_1$</text>" in draw()


def test_two_pictures_share_no_id_and_refer_to_their_own() -> None:
    ids = []
    for prefix in ("one", "two"):
        text = draw(prefix)
        found = re.findall(r' id="([^"]*)"', text)
        wanted = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
        assert {a or b for a, b in wanted} <= set(found)
        assert any("url(#" in part for part in text.split("clip-path")), "it clips"
        assert len(found) == len(set(found))
        ids.append(set(found))
    assert not ids[0] & ids[1]


def test_coordinates_have_two_decimals() -> None:
    assert not re.search(r' d="[^"]*\.\d{3}', draw())


def test_axes_lie_where_their_margins_say() -> None:
    with drawing(300, 120) as figure:
        box = place(figure, 40, 10, 20, 30).get_position()
        assert [box.x0 * 300, box.y0 * 120, box.x1 * 300, box.y1 * 120] == pytest.approx(
            [40, 30, 280, 110]
        )


@settings(max_examples=20, deadline=None)
@given(title=st.text(min_size=1), description=st.text(min_size=1))
def test_titles_are_escaped_whatever_they_hold(title: str, description: str) -> None:
    words = Words()
    words.feed(draw("p", f"-{title}", f"-{description}").replace("\x00", ""))
    words.close()
    assert words.found["title"] == f"-{title}".replace("\x00", "")
    assert words.found["desc"] == f"-{description}".replace("\x00", "")
    assert words.tags <= {"svg", "title", "desc", "g", "path", "defs", "use", "text", "rect", "clippath", "pattern"}  # fmt: skip
