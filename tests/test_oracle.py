"""The oracle: absent it skips, and what goes wrong in its process is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.backbones.contract import Prompt
from tests import oracle

FRAMES = np.zeros((2, 8, 8, 3), np.uint8)


def test_where_it_is_not_installed_tests_are_skipped_and_say_how_to_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "INSTALLED", tmp_path)
    with pytest.raises(pytest.skip.Exception, match="run `make oracle`"):
        oracle.ask(tmp_path, [])


@pytest.mark.skipif(not oracle.available(), reason=oracle.REASON)
def test_an_error_of_the_library_is_told(tmp_path: Path) -> None:
    request = oracle.Request(oracle.video_messages(Prompt("", "What?")), FRAMES)
    with pytest.raises(RuntimeError, match="the oracle failed"):
        oracle.ask(tmp_path / "no checkpoint", [request])


def test_a_video_stands_before_the_question_and_after_the_system_message() -> None:
    assert oracle.video_messages(Prompt("Look.", "What?")) == [
        {"role": "system", "content": [{"type": "text", "text": "Look."}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},
    ]
    assert len(oracle.video_messages(Prompt("", "What?"))) == 1
