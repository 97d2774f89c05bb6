"""Recipe and knob: the two kinds of settings, kept apart by how a field is declared.

A *recipe* field changes the numbers that a stage computes and enters its key. A *knob* changes how
the work is done (workers, devices, batch size, paths) and never does. A settings class is a frozen
dataclass whose every field is made by `recipe` or `knob`; a field made otherwise is refused when
the class is first looked at, so nobody can forget to decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["recipe", "knob"]


@dataclass(frozen=True, slots=True)
class FieldNote:
    """What a settings field declares about itself."""

    kind: Kind
    doc: str
    """One line for the person who edits the TOML."""
    choices: tuple[str, ...] = ()
    """The allowed values, where they are few."""
    check: Callable[[Any], str | None] | None = None
    """Returns what is wrong with a value ("must be at least 1"), or None."""
    parse: Callable[[Any], Any] | None = None
    """Makes the field's value of the TOML value, where its type alone does not say how; raises
    TypeError that says what is expected."""


def recipe(
    default: Any,
    doc: str,
    *,
    choices: Sequence[str] = (),
    check: Callable[[Any], str | None] | None = None,
    parse: Callable[[Any], Any] | None = None,
) -> Any:
    """Declare a settings field that changes the numbers, and so enters the key."""
    return _field(default, FieldNote("recipe", doc, tuple(choices), check, parse))


def knob(
    default: Any,
    doc: str,
    *,
    choices: Sequence[str] = (),
    check: Callable[[Any], str | None] | None = None,
    parse: Callable[[Any], Any] | None = None,
) -> Any:
    """Declare a settings field that changes how work is done, never a number."""
    return _field(default, FieldNote("knob", doc, tuple(choices), check, parse))


def at_least(low: float) -> Callable[[Any], str | None]:
    """A check: the value must be `low` or more."""
    return lambda value: None if value >= low else f"must be at least {low}"


def between(low: float, high: float) -> Callable[[Any], str | None]:
    """A check: the value must lie in [low, high]."""
    return lambda value: None if low <= value <= high else f"must be between {low} and {high}"


def positive(value: Any) -> str | None:
    """A check: the value must be more than 0."""
    return None if value > 0 else "must be more than 0"


def notes(settings: type[Any]) -> dict[str, FieldNote]:
    """The note of every field of a settings class, in order of declaration."""
    found: dict[str, FieldNote] = {}
    for field in dataclasses.fields(settings):
        note = field.metadata.get("hiprobe")
        if not isinstance(note, FieldNote):
            raise TypeError(f"{settings.__name__}.{field.name} is declared neither recipe nor knob")
        found[field.name] = note
    return found


def recipe_of(settings: Any) -> dict[str, Any]:
    """The recipe fields of a settings object with their values: what enters the key."""
    kinds = notes(type(settings))
    return {name: getattr(settings, name) for name, note in kinds.items() if note.kind == "recipe"}


def _field(default: Any, note: FieldNote) -> Any:
    if isinstance(default, (list, dict, set)):
        raise TypeError("a settings default must be immutable: use a tuple")
    return dataclasses.field(default=default, metadata={"hiprobe": note})
