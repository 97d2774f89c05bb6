"""Recorded figures: what is written is what was answered, and a difference is named."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from demo.acts import KINDS
from demo.checkpoint import CARD, CHECKPOINT, FIGURES
from demo.exam import Answered
from demo.figures import SEED, card, differences, figures, record, take
from demo.train import Recipe, main

ANSWERED = [
    Answered(kind.name, kind.group, 1 + n % 3, 0.9 * (kind.group == "anomalous"), f"{kind.told} here.", f"{kind.told} here.")
    for n, kind in enumerate(KINDS)
]  # fmt: skip


def test_figures_are_shares_of_the_answers() -> None:
    wrong = replace(ANSWERED[0], yes=0.8)  # an empty scene is called abnormal
    other = replace(ANSWERED[-1], said="Two people fight here.")
    found = figures([wrong, *ANSWERED[1:-1], other])
    count = len(KINDS)
    assert found["yes_no"] == round((count - 1) / count, 4)
    assert found["named"] == found["captions"] == round((count - 1) / count, 4)
    assert found["yes_no_by_group"] == {
        "normal": round(6 / 7, 4), "look-alike": 1.0, "anomalous": 1.0,
    }  # fmt: skip
    assert found["named_by_group"]["anomalous"] == 0.9
    assert found["right"] == "0" + "1" * (count - 1)
    assert found["named_each"] == "1" * (count - 1) + "0"


def test_a_difference_from_the_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 2_000_000)
    training = {"parameters": 1234567, "recipe": vars(Recipe()), "minutes": 12.3, "where": "a CPU"}
    record(tmp_path, ANSWERED, training)
    assert differences(tmp_path, ANSWERED) == []
    assert differences(tmp_path, ANSWERED[:5]) == []  # the first few can be checked alone
    (told,) = differences(tmp_path, [*ANSWERED[:2], replace(ANSWERED[2], said="Nothing.")])
    assert told.startswith("clip 2 (stroll, subtlety 3): the event's name is wrong")
    told_card = (tmp_path / CARD).read_text()
    for said in ("1,234,567", "2.0 MB", "license: apache-2.0", "| fight | anomalous | 100.0 % |"):
        assert said in told_card


@pytest.fixture(scope="module")
def recorded() -> dict[str, object]:
    found: dict[str, object] = json.loads((CHECKPOINT / FIGURES).read_text())
    return found


def test_the_shipped_weights_answer_as_recorded() -> None:
    with ThreadPoolExecutor(1) as pool:
        answered = take(CHECKPOINT, pool, 40)
    assert len(differences(CHECKPOINT, answered)) <= 1  # another processor may round otherwise


def test_check_says_what_it_finds_by_its_exit_code(tmp_path: Path) -> None:
    for path in CHECKPOINT.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    words = ["--check", "--clips", "8", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / FIGURES).read_text())
    found["exam"]["right"] = "".join("10"[int(digit)] for digit in found["exam"]["right"])
    (tmp_path / FIGURES).write_text(json.dumps(found))
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "8 answers of 8 clips are not the recorded ones" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--clips", "5000"], "only 1000 clips are recorded"), (["--clips", "0"], "x>=1")],
)
def test_what_cannot_be_checked_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["--check", *words])
    assert refused.exit_code != 0
    assert said in refused.output
    missing = CliRunner().invoke(main, ["--check", "--out", str(tmp_path)])
    assert missing.exit_code == 1
    assert "no figures are recorded there" in missing.output


def test_the_card_is_that_of_the_figures(recorded: dict[str, dict[str, float]]) -> None:
    size = (CHECKPOINT / "model.safetensors").stat().st_size
    assert (CHECKPOINT / CARD).read_text(encoding="utf-8") == card(recorded, size)


def test_the_shipped_checkpoint_is_small_and_as_good_as_it_must_be(
    recorded: dict[str, dict[str, float]],
) -> None:
    """Of the record, which the test before compares with the weights."""
    assert (CHECKPOINT / "model.safetensors").stat().st_size <= 8_000_000
    exam = recorded["exam"]
    assert exam["seed"] == SEED
    assert exam["clips"] >= 1000
    assert exam["yes_no"] >= 0.95
    assert exam["named"] >= 0.9
