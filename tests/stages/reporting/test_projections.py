"""The pictures of the probing rows: every row is drawn once, in the colour of its class."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from stages.reporting.scatter import EDGE, SIDE, draw_scatter
from tests.report_run import Page, Run, make_run, put_pictures


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path)
    put_pictures(made, note="layer 0: no t-SNE")
    return made


def test_the_page_shows_every_picture(run: Run) -> None:
    page = run.page()
    titles = re.findall(r'<title id="scatter-\d-t">([^<]*)</title>', page.source)
    assert titles == [
        *(f"principal components of layer {layer}" for layer in (0, 2, 3)),
        *(f"t-SNE of layer {layer}" for layer in (0, 2, 3)),
    ]
    assert "5 of 16 segments of the probing videos" in page.text
    assert "1st component, 75 % of the variance" in page.source
    assert "perplexity 1.33, 1000 steps, KL 0.25" in page.text
    assert "Layer 2 (chosen), t-SNE" in page.text
    assert "Layer 0, t-SNE" in page.text
    assert "layer 0: no t-SNE." in page.text
    assert page.text.count("3 normal and 2 anomalous rows.") == 6


def test_without_pictures_the_page_says_nothing_of_them(run: Run) -> None:
    put_pictures(run, layers=())
    assert "in the plane" not in Page.of(run.write("none")[0]).text
    del run.inputs["pictures"]
    assert "in the plane" not in Page.of(run.write("absent")[0]).text


def places(text: str, colour: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The middle of every mark of a colour, in pixels of the picture, y downwards."""
    found = re.search(rf'<path d="([^"]*)"[^>]*style="[^"]*var\(--{colour}\)', text)
    assert found is not None
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", found[1])]
    return np.asarray(numbers).reshape(-1, 2)


def test_every_row_has_a_mark_in_its_place() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40, 2)) * (3, 1)
    labels = (np.arange(40) % 3 == 0).astype(int)
    text = draw_scatter("s", "t-SNE", points.tolist(), labels.tolist(), None)
    squares = places(text, "normal").reshape(-1, 4, 2).mean(axis=1)
    crosses = places(text, "truth").reshape(-1, 4, 2).mean(axis=1)
    assert (len(squares), len(crosses)) == (26, 14)
    drawn = np.empty((40, 2))
    drawn[labels == 0], drawn[labels == 1] = squares, crosses
    drawn[:, 1] *= -1  # pixels count downwards
    scale = np.ptp(drawn[:, 0]) / np.ptp(points[:, 0])
    assert np.ptp(drawn[:, 0]) == pytest.approx(SIDE - 2 * EDGE, abs=0.1)
    expected = (points - points[0]) * scale
    np.testing.assert_allclose(drawn - drawn[0], expected, atol=0.05)


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([], []),
        ([(0.0, 0.0)], [1]),
        ([(1.0, 1.0)] * 3, [0, 0, 0]),
        ([(1e300, 0.0), (-1e300, 5.0)], [0, 1]),
    ],
)
def test_any_points_can_be_drawn(points: list[tuple[float, float]], labels: list[int]) -> None:
    text = draw_scatter("s", "t-SNE", points, labels, None)
    assert text.startswith("<svg ")
    assert "nan" not in text


def test_a_picture_of_five_hundred_rows_stays_small() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(500, 2)).tolist()
    assert len(draw_scatter("s", "t-SNE", points, [i % 2 for i in range(500)], None)) < 60_000
