"""The bootstrap by weights equals one that copies the frames of the drawn videos."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from stages.probes.bootstrap import Band, band_of, draws, mean_replicates, pooled_replicates
from stages.probes.frames import Pool


def make_pool(videos=5, seed=0):
    generator = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), 4)
    scores = np.round(generator.random(4 * videos), 1)
    positive = (generator.random(4 * videos) < 0.4) & (video % 2 == 1)
    frames = generator.integers(1, 25, 4 * videos)
    return Pool(video, frames, positive, scores, scores, scores > 0.5)


def test_replicates_equal_those_of_copied_frames():
    pool = make_pool()
    drawn = draws(5, 40, seed=3)
    found = pooled_replicates(pool, pool.smoothed, drawn)
    for counts, (auc, ap, _) in zip(drawn, found, strict=True):
        parts = [v for v, n in enumerate(counts) for _ in range(n)]
        labels = np.concatenate(
            [np.repeat(pool.positive, pool.frames * (pool.video == v)) for v in parts]
        )
        scores = np.concatenate(
            [np.repeat(pool.smoothed, pool.frames * (pool.video == v)) for v in parts]
        )
        if labels.all() or not labels.any():
            assert np.isnan(auc)
        else:
            assert auc == pytest.approx(roc_auc_score(labels, scores), rel=1e-9)
            assert ap == pytest.approx(average_precision_score(labels, scores), rel=1e-9)


def test_replicates_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    pool, drawn = make_pool(), draws(5, 17, seed=3)
    found = pooled_replicates(pool, pool.smoothed, drawn)
    monkeypatch.setattr("stages.probes.bootstrap.CELLS", 3 * len(pool.frames))
    np.testing.assert_array_equal(pooled_replicates(pool, pool.smoothed, drawn), found)


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
