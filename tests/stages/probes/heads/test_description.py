"""All figures of some heads at once."""

from __future__ import annotations

import numpy as np
import pytest

from stages.probes.heads import figures
from stages.probes.heads.clusters import nmi, two_means
from stages.probes.heads.description import describe, subject_of
from stages.probes.heads.discrepancy import mmd, pairs_of, room_for
from stages.probes.heads.replicates import separability_replicates
from tests.stages.probes.heads.samples import centred

VIDEOS = [np.zeros(14, dtype=np.int64), np.ones(11, dtype=np.int64), np.ones(7, dtype=np.int64)]
SETTINGS = {"eps": 1e-6, "samples": 2000, "starts": 5, "seed": 3, "replicates": 4}


def made(heads=4, dim=6):
    """Float32 [n, heads, dim], each head further apart than the one before."""
    labels = np.concatenate(VIDEOS)
    gap = np.arange(heads)[None, :, None] * labels[:, None, None]
    noise = np.random.default_rng(0).normal(size=(len(labels), heads, dim))
    return (noise + gap).astype(np.float32)


def described(rows, **changed):
    subject = subject_of(VIDEOS, **{**SETTINGS, **changed})
    return describe(rows, subject, room_for(len(subject.sampled))), subject


def test_every_figure_is_that_of_its_head():
    rows = made()
    found, subject = described(rows)
    for place in range(4):
        one = rows[:, place].astype(np.float64)
        rest, both = centred(one), figures.class_moments(one, subject.labels)
        expected = {
            "lda": figures.lda(*both, 1e-6),
            "kl": figures.symmetric_kl(*both, 1e-6),
            "mmd": mmd(rest, pairs_of(subject.labels), room_for(len(one))),
            "nmi": nmi(subject.labels, two_means(rest, starts=5, seed=3)),
            "separability": figures.separability(*both),
        }
        assert {name: values[place] for name, values in found.figures.items()} == expected
        drawn = separability_replicates(rest, subject.drawn)
        np.testing.assert_array_equal(found.separability[place], drawn)
    assert found.separability.shape == (4, 4)


def test_mmd_and_nmi_are_those_of_the_sampled_rows():
    rows = made()
    (every, _), (found, subject) = described(rows), described(rows, samples=20)
    assert len(subject.sampled) == 20
    some, labels = rows[subject.sampled, 3].astype(np.float64), subject.labels[subject.sampled]
    assert found.figures["mmd"][3] == mmd(centred(some), pairs_of(labels), room_for(20))
    assert found.figures["nmi"][3] == nmi(labels, two_means(centred(some), starts=5, seed=3))
    for name in ("lda", "kl", "separability"):
        np.testing.assert_array_equal(found.figures[name], every.figures[name])


def test_a_head_has_the_same_figures_alone_as_among_others():
    rows = made()
    (together, _), (alone, _) = described(rows), described(rows[:, 2:3].copy())
    for name, values in together.figures.items():
        assert values[2] == alone.figures[name][0]


@pytest.mark.parametrize("value", [0.1, 0.0, 1e30])
def test_a_head_that_always_says_the_same_has_no_figure_and_spoils_no_other(value):
    rows = made()
    expected, _ = described(rows)
    rows[:, 1] = value
    found, _ = described(rows)
    for name, values in found.figures.items():
        assert np.isnan(values[1]), name
        np.testing.assert_array_equal(values[[0, 2, 3]], expected.figures[name][[0, 2, 3]])
    assert np.isnan(found.separability[1]).all()


def test_the_store_s_largest_numbers_give_figures_or_none_and_never_a_warning():
    rows = made() * np.float32(1e37)
    found, _ = described(rows)
    expected, _ = described(made())
    for name, values in found.figures.items():
        np.testing.assert_allclose(values, expected.figures[name], rtol=1e-4)
