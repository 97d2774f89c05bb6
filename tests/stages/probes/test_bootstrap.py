"""The bootstrap by counts equals one that copies the frames of the drawn videos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from stages.probes.bootstrap import (
    Band,
    band_of,
    drawn_by,
    draws,
    mean_replicates,
    pooled_figures,
    sample_of,
)
from stages.probes.evaluation import evaluation_of
from stages.probes.frames import Pool, evaluated_runs, read_truth


def make_pool(videos, seed, decimals, per_video=6):
    generator = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), per_video)
    scores = np.round(generator.random(len(video)), decimals)
    positive = (generator.random(len(video)) < 0.4) & (video % 3 == 1)
    frames = generator.integers(1, 25, len(video))
    return Pool(video, frames, positive, scores, scores, None)


def copied(pool, counts):
    """Labels and scores of every frame of the drawn videos."""
    rows = [np.flatnonzero(pool.video == v) for v, n in enumerate(counts) for _ in range(n)]
    chosen = np.concatenate(rows)
    frames = np.repeat(chosen, pool.frames[chosen])
    return pool.positive[frames], pool.smoothed[frames]


@settings(max_examples=25, deadline=None)
@given(
    videos=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
    decimals=st.sampled_from([1, 2, 15]),  # with many ties, with few, with none
    replicates=st.sampled_from([1, 12, 150]),
)
def test_replicates_equal_scikit_learns_on_copied_frames(videos, seed, decimals, replicates):
    pool = make_pool(videos, seed, decimals)
    drawn = draws(videos, replicates, seed)
    found = pooled_figures(pool, pool.smoothed, drawn)
    assert found.shape == (replicates, 3)
    for counts, figures in list(zip(drawn, found, strict=True))[-12:]:
        labels, scores = copied(pool, counts)
        if labels.all() or not labels.any():
            assert np.isnan(figures).all()
            continue
        precision, recall, _ = precision_recall_curve(labels, scores)
        expected = [roc_auc_score(labels, scores), average_precision_score(labels, scores)]
        np.testing.assert_allclose(figures, [*expected, auc(recall, precision)], rtol=1e-12)


def test_some_replicates_have_no_anomalous_frame():
    pool = make_pool(videos=4, seed=0, decimals=15)  # one anomalous video of four
    drawn = draws(4, 200, seed=1)
    found = pooled_figures(pool, pool.smoothed, drawn)
    np.testing.assert_array_equal(np.isnan(found), np.repeat(drawn[:, [1]] == 0, 3, axis=1))
    assert 20 < np.isnan(found[:, 0]).sum() < 120


def test_replicates_do_not_depend_on_how_many_thresholds_are_summed_up_at_once(monkeypatch):
    pool, drawn = make_pool(9, 1, 15, per_video=40), draws(9, 17, seed=3)
    found = pooled_figures(pool, pool.smoothed, drawn)
    monkeypatch.setattr("stages.probes.bootstrap.CELLS", 3 * 17)
    again = pooled_figures(pool, pool.smoothed, drawn)
    np.testing.assert_array_equal(again[:, 0], found[:, 0])  # areas under ROC are exact
    np.testing.assert_allclose(again, found, rtol=1e-14)


def test_without_a_positive_no_replicate_is_defined():
    pool = make_pool(3, 0, 1)
    normal = Pool(pool.video, pool.frames, pool.positive & False, pool.smoothed, pool.score, None)
    assert np.isnan(pooled_figures(normal, pool.smoothed, draws(3, 5, seed=0))).all()


def test_every_replicate_draws_as_many_videos_as_there_are():
    drawn = draws(7, 100, seed=0)
    assert drawn.shape == (100, 7)
    assert set(drawn.sum(axis=1).tolist()) == {7}
    np.testing.assert_array_equal(drawn, draws(7, 100, seed=0))
    assert drawn.tolist() != draws(7, 100, seed=1).tolist()


def test_the_mean_over_drawn_videos_leaves_out_undefined_ones():
    values = np.asarray([0.5, np.nan, 1.0])
    drawn = np.asarray([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    found = mean_replicates(values, drawn)
    np.testing.assert_allclose(found, [0.75, 2 / 3, np.nan])


def test_a_band_is_made_of_the_defined_replicates():
    values = np.append(np.arange(101) / 100, np.nan)
    assert band_of(values) == Band(pytest.approx(0.025), pytest.approx(0.975), 101)
    assert band_of(np.full(3, np.nan)) is None


def test_a_sample_is_its_videos_frames_and_intervals_and_not_their_scores():
    def video(name, n=40, intervals=((3, 9),), score=0.5):
        entry = {
            "label": int(bool(intervals)),
            "class": "Abuse",
            "intervals": intervals,
            "listed_frames": None,
        }
        starts, scores = np.asarray([0]), np.asarray([score])
        truth = read_truth(name, entry, n)
        return evaluated_runs(name, truth, starts, n, scores, scores, None, [], None)

    one = sample_of([video("a"), video("b", intervals=())])
    assert len(one) == 64
    assert one == sample_of([video("b", intervals=(), score=0.1), video("a")])
    assert one != sample_of([video("a"), video("c", intervals=())])
    assert one != sample_of([video("a", n=41), video("b", intervals=())])
    assert one != sample_of([video("a", intervals=((3, 10),)), video("b", intervals=())])
    # In whatever folders a data set lies ...
    assert one == sample_of([video("part-2/A"), video("part-1/b.mp4", intervals=())])
    # ... as long as its bare names tell the videos apart.
    twice = [video("x/a"), video("y/a", intervals=())]
    assert [*drawn_by(twice)] == ["x/a", "y/a"]
    assert sample_of(twice) != sample_of([video("x/a"), video("z/a", intervals=())])


def test_the_same_videos_in_other_folders_are_drawn_alike():
    generator = np.random.default_rng(0)
    labels, scores = generator.random((9, 6)) < 0.4, generator.random((9, 6))
    folders = [f"{n % 3}/{name}" for n, name in enumerate("cabihgfed")]
    found = []
    for names in (folders, [name[2:] for name in folders]):
        videos = [
            evaluated(name, row, score)
            for name, row, score in zip(names, labels, scores, strict=True)
        ]
        found.append(evaluation_of(videos, bootstrap=20, seed=3, tiou=(0.5,)))
    one, two = found
    assert one.metrics["bootstrap"] == two.metrics["bootstrap"]
    for name in one.replicates:
        np.testing.assert_array_equal(one.replicates[name], two.replicates[name])


def evaluated(name, labels, scores, run=10):
    """A video of runs of frames, each with its label and score."""
    intervals = [(run * n, run * (n + 1)) for n in np.flatnonzero(labels)]
    entry = {"label": int(any(labels)), "class": "x", "intervals": intervals, "listed_frames": None}
    n_frames = run * len(labels)
    starts = np.arange(0, n_frames, run)
    truth = read_truth(name, entry, n_frames)
    return evaluated_runs(name, truth, starts, n_frames, scores, scores, 0.5, [], 1.0)
