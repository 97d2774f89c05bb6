"""What a kind of scorer is said not to read changes not one bit of it, and what it reads does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cache.fields import notes, recipe_of
from stages import fit
from stages.probes.choice import Choice
from stages.probes.fit_settings import READ_BY, STEER, Settings, of_other_kinds, read_by
from stages.probes.probing_rows import ProbingRows
from stages.probes.scorers import SCORERS
from tests.fitting import samples

OTHER: dict[str, Any] = {
    "solver": "streaming", "c": 0.1, "standardise": False, "balance": "resample", "max_iter": 1,
    "seed": 3, "mlp_hidden": 3, "mlp_activation": "relu", "steer": "static", "steer_gate": 3,
    "steer_rank": 1, "steer_epochs": 4, "steer_rate": 0.1, "steer_decay": 0.5, "steer_lambda": 0.7,
}  # fmt: skip
"""Another value of every field but the kind and the folds, which the scorer itself does not read."""


def tensors(kind: str, **changed: Any) -> dict[str, bytes]:
    given = {"scorer": kind, "balance": "weights", "steer_epochs": 20, **changed}
    rows, labels = samples(dim=8)
    made = ProbingRows(
        ("v",), (labels,), (), 8, 4, {}, "", Choice(heads=((0, 0), (0, 1)), context=1)
    )
    options = fit._options(Settings(**given), made)
    scorer, _ = SCORERS[kind].fit(rows, labels, options)
    return {name: value.tobytes() for name, value in scorer.tensors().items()}


def test_every_field_is_read_by_some_kind() -> None:
    assert {name for kind in READ_BY for name in read_by(kind)} == {*notes(Settings)}
    assert {"scorer", "folds", *OTHER} == {*recipe_of(Settings())}
    assert tuple(READ_BY) == notes(Settings)["scorer"].choices == tuple(SCORERS)


@pytest.mark.parametrize("kind", READ_BY)
def test_what_a_kind_does_not_read_changes_nothing(kind: str) -> None:
    others = of_other_kinds(kind)
    assert {*others} | {*read_by(kind)} == {*notes(Settings)}
    assert not {*others} & {*read_by(kind)}
    base = tensors(kind)
    assert tensors(kind, **{name: OTHER[name] for name in others}) == base


@pytest.mark.parametrize("kind", READ_BY)
def test_what_a_kind_reads_changes_it(kind: str) -> None:
    """But for the solver, which is to change nothing, and the seed where nothing is drawn."""
    fields: Sequence[str] = [n for n in read_by(kind) if n not in ("scorer", "solver", "folds")]
    for name in fields:
        # There is something to see only where the fit is long, or where something is drawn.
        more = {"seed": {"balance": "resample"}, "max_iter": {"c": 1e4}}.get(name, {})
        if name == "seed" and kind == "distance":
            continue  # its folds alone are drawn
        assert tensors(kind, **more) != tensors(kind, **{**more, name: OTHER[name]}), name


def test_steer_reads_all_that_is_called_after_it() -> None:
    assert [name for name in notes(Settings) if name.startswith(STEER)] == [
        "steer", "steer_gate", "steer_rank", "steer_epochs", "steer_rate", "steer_decay",
        "steer_lambda",
    ]  # fmt: skip
    assert np.isclose(Settings().steer_lambda, 0.1)  # published
