"""Probes are judged on videos that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from stages.probes import crossvalidation
from stages.probes.crossvalidation import CrossValidation, areas, cross_validate, held_out
from stages.probes.folds import video_folds
from stages.probes.resampling import video_draws
from tests.fitting import options

Array = NDArray[Any]


def quiet(done: float, total: float) -> None:
    pass


def made(
    seed: int = 0, videos: int = 9, gap: float = 1.0, layers: int = 2
) -> tuple[list[Array], list[Array]]:
    """Videos [segments, layers, dim] of both classes, apart in the last layer, with labels."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 12, videos)
    labels = [np.full(n, i % 2) for i, n in enumerate(lengths)]
    rows = [generator.normal(5, 2, size=(n, layers, 4)).astype(np.float32) for n in lengths]
    for part, own in zip(rows, labels, strict=True):
        part[:, -1, 0] += gap * own
    return rows, labels


def of(
    rows: Sequence[Array], labels: Sequence[Array], fold: Array, layers: Sequence[int], **more: Any
) -> CrossValidation:
    given = {"options": options(), "draws": np.zeros((0, len(rows)), np.int64), "workers": 2}
    reads = [lambda layer, v=v: v[:, layer] for v in rows]
    return cross_validate(reads, labels, fold, layers, progress=quiet, **{**given, **more})


def naive_scores(rows: Sequence[Array], labels: Sequence[Array], fold: Array) -> list[Array]:
    """Held-out scores of every video of [segments, dim] by scikit-learn, a fold at a time."""
    scores: list[Array] = [np.empty(0)] * len(rows)
    for number in sorted(set(fold.tolist())):
        seen = [v for v in range(len(rows)) if fold[v] != number]
        x = np.concatenate([rows[v] for v in seen]).astype(np.float64)
        scaler = StandardScaler().fit(x)
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(scaler.transform(x), np.concatenate([labels[v] for v in seen]))
        for v in np.flatnonzero(fold == number):
            unseen = scaler.transform(rows[v].astype(np.float64))
            scores[v] = model.predict_proba(unseen)[:, 1]
    return scores


def naive_cv(scores: Sequence[Array], labels: Sequence[Array], fold: Array, draw: Array) -> float:
    """Mean over the folds of the AUC of the rows of a fold, each as often as its video is drawn."""
    found = []
    for number in sorted(set(fold.tolist())):
        inside = [v for v in np.flatnonzero(fold == number) for _ in range(draw[v])]
        y = np.concatenate([np.empty(0), *(labels[v] for v in inside)])
        if len(set(y.tolist())) == 2:
            found.append(roc_auc_score(y, np.concatenate([scores[v] for v in inside])))
    return float(np.mean(found)) if found else np.nan


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_figure_equals_a_plain_computation(seed: int) -> None:
    rows, labels = made(seed)
    if seed == 2:
        labels[1][:2] = 0  # a video with both classes
    fold = video_folds(labels, 3, seed)
    draws = video_draws(labels, 40, seed)
    draws[0] = 0
    draws[1, 1:] = 0
    found = of(rows, labels, fold, [1, 0], draws=draws)
    once = np.ones(len(rows), dtype=np.int64)
    for place, layer in enumerate((1, 0)):
        scores = naive_scores([v[:, layer] for v in rows], labels, fold)
        assert found.mean[place] == pytest.approx(naive_cv(scores, labels, fold, once), rel=1e-9)
        pooled = roc_auc_score(np.concatenate(labels), np.concatenate(scores))
        assert found.pooled[place] == pytest.approx(pooled, rel=1e-9)
        single = [
            naive_cv(scores, labels, np.where(fold == n, 0, 1), once * (fold == n))
            for n in range(3)
        ]
        assert found.deviation[place] == pytest.approx(np.std(single), rel=1e-9, abs=1e-12)
        expected = [naive_cv(scores, labels, fold, draw) for draw in draws]
        np.testing.assert_allclose(found.replicates[:, place], expected, rtol=1e-9)
        assert np.isnan(found.replicates[0, place])
    assert found.not_converged.tolist() == [0, 0]


class TestLeaks:
    def test_no_probe_sees_a_row_of_the_videos_that_it_scores(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows, labels = made()
        for number, part in enumerate(rows):
            part[:, :, 3] = 100 + number  # whose row it is
        fitted, scored = [], []
        whole = crossvalidation.LogisticScorer

        class Watched:
            @staticmethod
            def fit(found: Array, own: Array, given: Any) -> Any:
                fitted.append({int(n) - 100 for n in found[:, 3]})
                scorer, report = whole.fit(found, own, given)

                class Scorer:
                    @staticmethod
                    def score(more: Array) -> Any:
                        scored.append({int(n) - 100 for n in more[:, 3]})
                        return scorer.score(more)

                return Scorer, report

        monkeypatch.setattr(crossvalidation, "LogisticScorer", Watched)
        of(rows, labels, video_folds(labels, 4, 0), [0], workers=1)
        assert len(fitted) == len(scored) == 4
        for seen, unseen in zip(fitted, scored, strict=True):
            assert not seen & unseen
            assert seen | unseen == set(range(9))
        assert sorted(v for unseen in scored for v in unseen) == list(range(9))

    def test_rows_that_give_their_video_away_do_not_help(self) -> None:
        """A number of its own in every video: a probe that saw the video would know the label."""
        generator = np.random.default_rng(0)
        found = []
        for _ in range(20):
            labels = [np.full(6, i % 2) for i in range(12)]
            rows = [
                np.repeat(generator.normal(size=(1, 1, 30)), 6, axis=0).astype(np.float32)
                for _ in labels
            ]
            found.append(of(rows, labels, video_folds(labels, 4, 0), [0]).mean[0])
            x, y = np.concatenate(rows)[:, 0], np.concatenate(labels)
            assert held_out(x, y, np.arange(len(x)) % 4, options())[0][y == 1].min() > 0.5
        assert np.mean(found) == pytest.approx(0.5, abs=0.12)

    def test_shuffled_labels_give_about_a_half(self) -> None:
        generator = np.random.default_rng(0)
        rows, labels = made(videos=16, gap=6.0)
        assert of(rows, labels, video_folds(labels, 5, 0), [1]).mean[0] > 0.9
        found = []
        for seed in range(30):
            order = generator.permutation(16)
            mixed = [np.full(len(v), labels[o][0]) for v, o in zip(rows, order, strict=True)]
            found.append(of(rows, mixed, video_folds(mixed, 5, seed), [1]).mean[0])
        assert np.mean(found) == pytest.approx(0.5, abs=0.1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30
    ),
    st.integers(0, 2**32 - 1),
)
def test_an_area_of_every_draw_is_that_of_the_repeated_scores(
    entries: list[tuple[int, bool, int]], seed: int
) -> None:
    scores, positive, video = (np.asarray(part) for part in zip(*entries, strict=True))
    draws = np.random.default_rng(seed).integers(0, 4, size=(70, 4))
    found = areas(scores / 5, positive, video.astype(np.int64), draws)
    for value, draw in zip(found, draws, strict=True):
        times = draw[video]
        y, s = np.repeat(positive, times), np.repeat(scores, times)
        if y.all() or not y.any():
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(y, s), rel=1e-12)


def test_workers_do_not_change_a_bit_and_layers_are_read_by_their_numbers() -> None:
    rows, labels = made(layers=5)
    fold, draws = video_folds(labels, 3, 0), video_draws(labels, 20, 0)
    found = set()
    for workers in (1, 2, 7):
        one = of(rows, labels, fold, range(5), draws=draws, workers=workers)
        found.add((one.mean.tobytes(), one.pooled.tobytes(), one.replicates.tobytes()))
    assert len(found) == 1
    some = of(rows, labels, fold, [4, 1], draws=draws)
    assert some.mean.tolist() == one.mean[[4, 1]].tolist()


def test_fits_that_did_not_converge_are_counted() -> None:
    rows, labels = made()
    found = of(rows, labels, video_folds(labels, 3, 0), [0, 1], options=options(max_iter=1))
    assert found.not_converged.tolist() == [3, 3]
