"""What every kind of scorer promises, whatever it computes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.metrics import roc_auc_score

from cache.digest import write_json
from cache.errors import ConfigError, DamagedArtifact
from stages.probes.scorers import SCORERS, Scorer, load_scorer, save_scorer
from tests.fitting import options, options_of, samples

KINDS = pytest.mark.parametrize("kind", SCORERS)
CHOICES = st.fixed_dictionaries(
    {
        "c": st.sampled_from([0.01, 1.0, 100.0]),
        "standardise": st.booleans(),
        "balance": st.sampled_from(["weights", "resample", "none"]),
        "seed": st.integers(0, 3),
    }
)
FEW = settings(max_examples=20, deadline=None)
"""Rows from two (one of each class) on, and often more dimensions than rows."""
ROWS, DIMS, SEEDS = st.integers(2, 70), st.integers(2, 90), st.integers(0, 2**32 - 1)


def fitted(kind: str) -> Scorer:
    return SCORERS[kind].fit(*samples(), options_of(kind, 6))[0]


@KINDS
@FEW
@given(ROWS, DIMS, SEEDS, CHOICES)
def test_scores_lie_between_0_and_1_and_those_of_a_row_are_its_own(
    kind: str, n: int, dim: int, seed: int, chosen: dict[str, Any]
) -> None:
    scorer, _ = SCORERS[kind].fit(*samples(seed, n, dim), options_of(kind, dim, **chosen))
    rows, _ = samples(seed + 1, n, dim)
    together = scorer.score(rows)
    assert together.shape == (n,)
    assert together.dtype == np.float64
    assert ((together >= 0) & (together <= 1)).all()
    at = seed % n
    assert scorer.score(rows[at : at + 1])[0] == together[at]
    assert scorer.score(rows[at:]).tobytes() == together[at:].tobytes()
    assert scorer.score(rows[:0]).shape == (0,)


@KINDS
@FEW
@given(ROWS, DIMS, SEEDS, CHOICES)
def test_a_scorer_survives_its_file_and_a_second_fit_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str, n: int, dim: int, seed: int, chosen: dict[str, Any],
) -> None:  # fmt: skip
    rows, labels = samples(seed, n, dim)
    given = options_of(kind, dim, **chosen)
    scorer, report = SCORERS[kind].fit(rows, labels, given)
    again, _ = SCORERS[kind].fit(rows, labels, given)
    folder = tmp_path_factory.mktemp("scorer")
    save_scorer(folder / "scorer.safetensors", scorer)
    save_scorer(folder / "again.safetensors", again)
    write_json(folder / "scorer.json", {"kind": kind})
    found = load_scorer(folder)
    assert type(found) is SCORERS[kind]
    assert found.score(rows).tobytes() == scorer.score(rows).tobytes()
    assert (folder / "scorer.safetensors").read_bytes() == (
        folder / "again.safetensors"
    ).read_bytes()
    # Those two minimise what is not convex, and say so where they did not get to its end.
    assert report.converged or kind in ("mlp", "steer")


@KINDS
@pytest.mark.parametrize("standardise", [True, False])
def test_what_differs_between_the_classes_is_found(kind: str, standardise: bool) -> None:
    for dim in (6, 200):
        (rows, labels), (others, truth) = samples(dim=dim), samples(seed=1, dim=dim, n=200)
        rows[:, :3] += 6 * labels[:, np.newaxis]
        others[:, :3] += 6 * truth[:, np.newaxis]
        scorer, _ = SCORERS[kind].fit(
            rows, labels, options_of(kind, dim, epochs=600, standardise=standardise)
        )
        assert roc_auc_score(truth, scorer.score(others)) > 0.8


@KINDS
def test_one_row_of_each_class_is_enough(kind: str) -> None:
    rows, labels = samples(n=2, dim=40)
    scorer, report = SCORERS[kind].fit(rows, labels, options_of(kind, 40))
    normal, anomalous = scorer.score(rows)
    assert normal < 0.5 < anomalous
    assert report.converged


@KINDS
@pytest.mark.parametrize("value", [0.1, -3e4, 1e-30, 0.0])
def test_a_constant_dimension_is_only_shifted(kind: str, value: float) -> None:
    rows, labels = samples()
    rows[:, 3] = value
    scorer, _ = SCORERS[kind].fit(rows, labels, options_of(kind, 6))
    tensors = scorer.tensors()
    assert tensors["scale"][3] == 1.0
    assert tensors["mean"][3] == rows[0, 3]
    assert np.isfinite(scorer.score(rows)).all()


@pytest.mark.parametrize("kind", ["logistic", "svm", "distance"])
def test_constant_dimensions_change_no_score(kind: str) -> None:
    """Mahalanobis is left out: the estimated shrinkage follows from the number of dimensions."""
    rows, labels = samples()
    wider = np.concatenate([rows, np.full((len(rows), 5), 7.3, dtype=np.float32)], axis=1)
    narrow, _ = SCORERS[kind].fit(rows, labels, options())
    wide, _ = SCORERS[kind].fit(wider, labels, options())
    # The optimisers stop within a tolerance, and rounding differs in the wider sums.
    np.testing.assert_allclose(wide.score(wider), narrow.score(rows), rtol=1e-3)


@KINDS
def test_all_rows_equal_cannot_be_told_apart(kind: str) -> None:
    labels = np.arange(10, dtype=np.int64) % 2
    rows = np.full((10, 4), 0.7, dtype=np.float32)
    scorer, _ = SCORERS[kind].fit(rows, labels, options_of(kind, 4))
    # The last two begin at random weights and end within the tolerance of their optimisers.
    np.testing.assert_allclose(
        scorer.score(rows), 0.5, atol=1e-3 if kind in ("mlp", "steer") else 1e-9
    )


@KINDS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_score_and_its_neighbours_have_theirs(
    kind: str, value: float
) -> None:
    scorer, (rows, _) = fitted(kind), samples(seed=1, n=5)
    before = scorer.score(rows)
    rows[2, 4] = value
    after = scorer.score(rows)
    assert np.isnan(after).tolist() == [False, False, True, False, False]
    assert np.delete(after, 2).tobytes() == np.delete(before, 2).tobytes()


@KINDS
def test_rows_of_another_width_are_refused(kind: str) -> None:
    scorer = fitted(kind)
    with pytest.raises(ConfigError, match=r"fitted on \[n, 6\], hidden states are \[2, 5\]"):
        scorer.score(np.zeros((2, 5), dtype=np.float32))
    with pytest.raises(ConfigError, match=r"hidden states are \[6\]"):
        scorer.score(np.zeros(6, dtype=np.float32))


@KINDS
def test_tensors_that_are_missing_or_do_not_belong_are_refused(kind: str) -> None:
    tensors = fitted(kind).tensors()
    for name in tensors:
        rest = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(DamagedArtifact, match=rf"kind {kind} holds .*{name}.*found"):
            SCORERS[kind].from_tensors(rest)
    with pytest.raises(DamagedArtifact, match="other"):
        SCORERS[kind].from_tensors({**tensors, "other": np.zeros(1)})


@KINDS
def test_tensors_of_another_shape_are_refused(kind: str) -> None:
    tensors = fitted(kind).tensors()
    for name, value in tensors.items():
        for wrong in (np.concatenate([value, value[:1]]), value[np.newaxis], value[..., :-1]):
            # A tensor whose size is the first of its name is believed, and the next one is not.
            with pytest.raises(DamagedArtifact, match=f"of a scorer of kind {kind} is .*found"):
                SCORERS[kind].from_tensors({**tensors, name: wrong})


def test_every_kind_is_registered_under_its_name() -> None:
    assert {kind: scorer.kind for kind, scorer in SCORERS.items()} == {k: k for k in SCORERS}


def saved(folder: Path, kind: str) -> Path:
    """The file of a fitted scorer."""
    save_scorer(folder / "scorer.safetensors", fitted(kind))
    write_json(folder / "scorer.json", {"kind": kind})
    return folder / "scorer.safetensors"


@KINDS
def test_a_file_that_is_cut_short_or_is_something_else_is_refused(
    tmp_path: Path, kind: str
) -> None:
    path = saved(tmp_path, kind)
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-1], b"\x80\x04N.", whole + b"0"):
        path.write_bytes(damaged)
        with pytest.raises(DamagedArtifact, match=r"scorer\.safetensors is not readable .*fit the"):
            load_scorer(tmp_path)


@KINDS
@pytest.mark.parametrize("wrong", [np.nan, np.inf, "float32"])
def test_numbers_that_no_fit_has_written_are_refused(
    tmp_path: Path, kind: str, wrong: float | str
) -> None:
    path = saved(tmp_path, kind)
    tensors = fitted(kind).tensors()
    for name, value in tensors.items():
        bad = value.astype(wrong) if isinstance(wrong, str) else value.copy()
        if not isinstance(wrong, str):
            bad.flat[-1] = wrong
        save_file({**tensors, name: bad}, path)
        with pytest.raises(DamagedArtifact, match=f"{name} in scorer.safetensors is float"):
            load_scorer(tmp_path)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """A pickle in the place of the tensors is refused as any other bytes are, and not run."""
    path = saved(tmp_path, "logistic")
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DamagedArtifact, match="is not readable"):
        load_scorer(tmp_path)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    for record in ({"kind": "oracle"}, {"kind": None}, {}):
        write_json(tmp_path / "scorer.json", record)
        with pytest.raises(ConfigError, match=r"kind .* is unknown.*logistic.*mlp.*steer"):
            load_scorer(tmp_path)


def test_scoring_imports_neither_scikit_learn_nor_torch() -> None:
    text = (
        "import sys, numpy as np\n"
        "from stages.probes.scorers import *\n"
        "row, one = np.zeros((1, 2), dtype=np.float32), np.ones(1)\n"
        "DistanceScorer(np.ones((2, 2)), np.zeros(2), np.ones(2)).score(row)\n"
        "SvmScorer(np.ones((1, 2)), one, one, one, np.zeros(2), np.ones(2)).score(row)\n"
        "MlpScorer(np.ones((3, 2)), np.ones(3), np.ones(3), one, 0 * one, np.zeros(2), np.ones(2))"
        ".score(row)\n"
        "head = np.ones((1, 1))\n"
        "SteerScorer(head, one, one, one, head[None], head[None], head, head, one, 0 * one,"
        " np.zeros(2), np.ones(2)).score(row)\n"
        "sys.exit(bool({'sklearn', 'scipy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
