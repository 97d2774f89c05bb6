"""The contact sheet shows every kind of act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from demo import sheet
from demo.acts import BY_NAME, KINDS
from demo.canvas import HEIGHT, WIDTH


def test_every_kind_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tuple(BY_NAME[name] for name in ("fire", "walk", "hug", "drive"))
    monkeypatch.setattr(sheet, "KINDS", chosen)
    done = CliRunner().invoke(sheet.main, [str(tmp_path / "sheet.png")])
    assert done.exit_code == 0, done.output
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    high, wide = HEIGHT + sheet.LINE, 3 * WIDTH
    assert picture.shape == (2 * high, 3 * wide, 3)
    for place in range(6):
        row, column = divmod(place, 3)
        own = picture[
            row * high + sheet.LINE : (row + 1) * high, column * wide : (column + 1) * wide
        ]
        assert (own.std() > 5) == (place < len(chosen))


def test_clips_are_of_the_kind_that_is_asked_for() -> None:
    for kind in KINDS[:4]:
        assert sheet.clip_of(kind, 1).kind == kind
