"""Settings fields: each is recipe or knob, and only recipes enter a key."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from cache.fields import FieldNote, at_least, between, knob, notes, recipe, recipe_of


@dataclass(frozen=True, slots=True)
class Sampling:
    keyframes: int = recipe(8, "keyframes per segment", check=at_least(1))
    workers: int = knob(2, "processes")
    rule: str = recipe("midpoints", "which frames", choices=("midpoints", "endpoints"))
    layers: tuple[int, ...] = recipe((), "layers to keep")


def test_the_defaults_are_those_of_the_declaration() -> None:
    assert Sampling() == Sampling(8, 2, "midpoints", ())


def test_the_recipe_holds_the_recipe_fields_with_their_values_and_nothing_else() -> None:
    assert recipe_of(Sampling(keyframes=16, workers=9)) == {
        "keyframes": 16,
        "rule": "midpoints",
        "layers": (),
    }


def test_a_knob_never_changes_the_recipe() -> None:
    assert recipe_of(Sampling(workers=1)) == recipe_of(Sampling(workers=64))


def test_notes_come_in_the_order_of_declaration_with_what_was_declared() -> None:
    found = notes(Sampling)
    assert list(found) == ["keyframes", "workers", "rule", "layers"]
    assert [note.kind for note in found.values()] == ["recipe", "knob", "recipe", "recipe"]
    assert found["rule"] == FieldNote("recipe", "which frames", ("midpoints", "endpoints"), None)
    assert found["workers"].doc == "processes"
    check = found["keyframes"].check
    assert check is not None
    assert check(0) == "must be at least 1"


def test_a_field_that_is_neither_is_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Careless:
        workers: int = knob(1, "processes")
        batch: int = 4

    with pytest.raises(TypeError, match=r"Careless\.batch is declared neither recipe nor knob"):
        notes(Careless)
    with pytest.raises(TypeError, match=r"Careless\.batch"):
        recipe_of(Careless())


def test_a_field_with_foreign_metadata_is_refused() -> None:
    @dataclass(frozen=True)
    class Foreign:
        batch: int = dataclasses.field(default=4, metadata={"hiprobe": "recipe"})

    with pytest.raises(TypeError, match=r"Foreign\.batch"):
        notes(Foreign)


@pytest.mark.parametrize("default", [[], {}, {1}])
@pytest.mark.parametrize("declare", [recipe, knob])
def test_a_mutable_default_is_refused(declare: Any, default: Any) -> None:
    with pytest.raises(TypeError, match="immutable"):
        declare(default, "text")


@pytest.mark.parametrize(
    ("check", "value", "answer"),
    [
        (at_least(1), 1, None),
        (at_least(1), 0, "must be at least 1"),
        (between(0, 1), 0, None),
        (between(0, 1), 1, None),
        (between(0, 1), 1.01, "must be between 0 and 1"),
        (between(0, 1), -0.01, "must be between 0 and 1"),
        (between(0, 1), float("nan"), "must be between 0 and 1"),
        (at_least(0), float("nan"), "must be at least 0"),
    ],
)
def test_checks_say_what_is_wrong(check: Any, value: float, answer: str | None) -> None:
    assert check(value) == answer
