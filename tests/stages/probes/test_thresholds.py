"""What lies above a threshold equals a count frame by frame, and the best one is the best."""

from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from cache.errors import ConfigError, ItemError, LeakageError
from manifests.schema import SENSITIVITY
from manifests.table import make_table
from stages.probes.localization_settings import LEAST_STEP, Settings
from stages.probes.spans import Spans
from stages.probes.thresholds import (
    KAPPAS,
    best_threshold,
    grid_of,
    sensitivity_of,
    validation_of,
)
from stages.probes.training import TrainingScores, TrainingSeries

RAW = Settings(sigma=0.0)


def series(name, lengths, labels, scores, held_out=True, fps=24.0):
    """A training video of segments of so many frames; held-out scores are other than fitted ones."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    spans = Spans(starts, ends, starts / fps, ends / fps)
    values = np.asarray(scores, dtype=np.float64)
    found = (1.0 - values, values) if held_out else (values, None)
    return TrainingSeries(name, "train", spans, np.asarray(labels, dtype=np.int64), *found)


@st.composite
def videos(draw, held_out=None):
    """Training videos with rows of both classes; scores often tie, with the grid too."""
    score = st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.65, 0.654, 0.9, 1.0]) | st.floats(0, 1)
    held = draw(st.booleans()) if held_out is None else held_out
    found = []
    for number, label in enumerate([0, 1, *draw(st.lists(st.sampled_from([0, 1]), max_size=3))]):
        rows = draw(st.lists(st.tuples(st.integers(1, 30), score), min_size=1, max_size=7))
        lengths, scores = zip(*rows, strict=True)
        labels = [label] * len(rows)
        if label and draw(st.booleans()):  # labels of frames: normal rows in an anomalous video
            labels = [
                1,
                *draw(st.lists(st.integers(0, 1), min_size=len(rows) - 1, max_size=len(rows) - 1)),
            ]
        found.append(series(f"v{number}", lengths, labels, scores, held))
    return found


def smoothed_frames(one, sigma, mode):
    """Score and label of every frame of a video."""
    scores = one.fitted if one.held_out is None else one.held_out
    curve = gaussian_filter1d(scores, sigma, mode=mode) if sigma else scores
    return [
        (value, label)
        for value, label, frames in zip(curve.tolist(), one.labels.tolist(), one.spans.frames.tolist(), strict=True)
        for _ in range(frames)
    ]  # fmt: skip


def counted(curves, threshold):
    """Naive: (tp, fp, anomalous, normal, runs in normal videos), frame by frame."""
    tp = fp = anomalous = normal = runs = 0
    for frames in curves:
        calm = not any(label for _, label in frames)
        before = False
        for value, label in frames:
            above = value > threshold
            tp += above and label == 1
            fp += above and label == 0
            anomalous += label == 1
            normal += label == 0
            runs += calm and above and not before
            before = above
    return tp, fp, anomalous, normal, runs


@settings(max_examples=60, deadline=None)
@given(videos(), st.sampled_from([0.0, 0.4, 1.5]), st.sampled_from(["reflect", "nearest"]),
       st.floats(-0.5, 1.5) | st.sampled_from([0.0, 0.1, 0.5, 0.65, 1.0]))  # fmt: skip
def test_counts_are_those_of_frames(found, sigma, mode, threshold):
    validation = validation_of(found, Settings(sigma=sigma, mode=mode))
    curves = [smoothed_frames(one, sigma, mode) for one in found]
    tp, fp, anomalous, normal, runs = counted(curves, threshold)
    counts = validation.counts(threshold)
    assert (counts.true, counts.false, counts.alarms) == (tp, fp, runs)
    assert (counts.anomalous, counts.normal) == (anomalous, normal)
    seconds = sum(len(frames) / 24 for frames in curves if not any(label for _, label in frames))
    said = validation.record(threshold)
    assert said["normal_hours"] == pytest.approx(seconds / 3600, rel=1e-12)
    assert said["scores"] == ("fitted" if found[0].held_out is None else "held_out")
    assert (said["videos"], said["rows"]) == (len(found), sum(len(one.spans) for one in found))
    assert (said["normal_frames"], said["anomalous_frames"]) == (normal, anomalous)
    assert said["precision"] == (tp / (tp + fp) if tp + fp else None)
    assert (said["recall"], said["normal_above"]) == (tp / anomalous, fp / normal)
    assert said["f1"] == float(Fraction(2 * tp, 2 * tp + fp + (anomalous - tp)))
    assert said["alarms_per_hour"] == pytest.approx(runs / (seconds / 3600), rel=1e-12)


def naive_best(curves, grid):
    """Naive: the middle of the longest run of the highest F1."""
    found = []
    for threshold in grid:
        tp, fp, anomalous, _, _ = counted(curves, threshold)
        found.append(Fraction(2 * tp, tp + fp + anomalous))
    runs, at = [], 0
    for value, run in groupby(found):
        length = len(list(run))
        if value == max(found):
            runs.append((-length, at))
        at += length
    length, start = min(runs)
    return max(found), grid[start + (-length - 1) // 2], sum(-n for n, _ in runs)


@settings(max_examples=40, deadline=None)
@given(videos(held_out=True), st.sampled_from([0.0, 0.4]), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_the_best_threshold_is_that_of_a_search_frame_by_frame(found, sigma, step):
    validation = validation_of(found, Settings(sigma=sigma))
    curves = [smoothed_frames(one, sigma, "reflect") for one in found]
    grid = [n * step for n in range(1, round(1 / step))]
    highest, expected, ties = naive_best(curves, grid)
    if not highest:
        with pytest.raises(ConfigError, match=f'score above {step}: .* "kappa"'):
            best_threshold(validation, step)
        return
    best = best_threshold(validation, step)
    assert best.threshold == pytest.approx(expected, abs=1e-12)
    assert validation.counts(best.threshold).f1 == highest
    assert (best.tried, best.ties) == (len(grid), ties)
    assert best.first <= best.threshold <= best.last


def test_the_grid_has_the_numbers_that_its_decimals_say():
    grid = grid_of(0.01)
    assert grid == tuple(float(f"0.{n:02d}") for n in range(1, 100))
    assert 0.65 in grid  # what HeadHunt-VAD publishes
    assert grid_of(0.3) == (0.3, 0.6, 0.9)
    assert grid_of(0.5) == (0.5,)
    assert len(grid_of(LEAST_STEP)) == 9999


def best_of(normal, anomalous, step=0.1):
    found = [series("n", [24] * len(normal), [0] * len(normal), normal),
             series("a", [24] * len(anomalous), [1] * len(anomalous), anomalous)]  # fmt: skip
    return best_threshold(validation_of(found, RAW), step)


def test_of_equally_good_thresholds_it_is_the_middle_of_the_longest_run():
    best = best_of([0.15], [0.85])  # 0.2 to 0.8 tell them apart
    assert (best.threshold, best.first, best.last, best.ties) == (0.5, 0.2, 0.8, 7)
    assert best_of([0.15], [0.75]).threshold == 0.4  # of 0.4 and 0.5 the lower


@pytest.mark.parametrize(
    ("highest", "threshold", "first", "last"), [(0.45, 0.3, 0.3, 0.4), (0.35, 0.1, 0.1, 0.1)]
)
def test_the_longest_run_wins_and_of_equal_runs_the_lowest(highest, threshold, first, last):
    # Above 0.1 lie 24 anomalous and 12 normal frames, F1 = 48 / 60; above 0.2 16 and 12; from 0.3
    # on 16 and 0, F1 = 32 / 40.
    found = [series("n", [12], [0], [0.25]), series("a", [8, 16], [1, 1], [0.15, highest])]
    best = best_threshold(validation_of(found, RAW), 0.1)
    assert (best.threshold, best.first, best.last) == (threshold, first, last)
    assert best.ties == 1 + len(np.arange(first, last + 0.05, 0.1))
    assert best.tried == 9


def test_what_tells_nothing_apart_has_no_best_threshold():
    with pytest.raises(ConfigError, match=r"no anomalous frame .* above 0\.1: .*\"kappa\""):
        best_of([0.9], [0.1])


@settings(max_examples=25, deadline=None)
@given(videos())
def test_the_sensitivity_is_that_of_every_kappa(found):
    validation = validation_of(found, RAW)
    fitted = np.concatenate([one.fitted for one in found])
    probing = TrainingScores(fitted, frozenset())
    columns = sensitivity_of(probing, validation)
    table = make_table(SENSITIVITY, columns).to_pydict()
    assert table["kappa"] == list(KAPPAS)
    assert (KAPPAS[0], KAPPAS[12], KAPPAS[-1], len(KAPPAS)) == (-1.0, 0.2, 3.0, 41)
    for row, kappa in enumerate(KAPPAS):
        threshold = float(fitted.mean()) + kappa * float(fitted.std())
        assert table["threshold"][row] == threshold
        shares = validation.counts(threshold).record()
        assert {name: table[name][row] for name in shares} == shares
    assert table["recall"] == sorted(table["recall"], reverse=True)
    assert table["normal_above"] == sorted(table["normal_above"], reverse=True)


def test_nothing_to_look_at_is_a_table_without_rows():
    columns = sensitivity_of(TrainingScores(np.ones(1), frozenset()), None)
    assert len(make_table(SENSITIVITY, columns)) == 0


def test_videos_without_a_length_have_no_alarms_per_hour():
    found = [series("n", [24], [0], [0.9]), series("a", [24], [1], [0.9])]
    still = Spans(found[0].spans.start_frame, found[0].spans.end_frame, np.zeros(1), np.zeros(1))
    found[0] = TrainingSeries(
        "n", "train", still, found[0].labels, found[0].fitted, found[0].held_out
    )
    assert validation_of(found, RAW).counts(0.5).record()["alarms_per_hour"] is None
    assert validation_of([*found[1:], series("m", [9, 9], [0, 1], [0.2, 0.2])], RAW).hours == 0
    with pytest.raises(ItemError, match=r'^n: .* set sigma_unit = "segments"'):
        validation_of(found, Settings(sigma_unit="seconds"))


def test_what_contradicts_itself_is_refused():
    one, other = series("n", [24], [0], [0.1]), series("a", [24], [1], [0.9], held_out=False)
    with pytest.raises(
        ConfigError, match=r"^1 of 2 training videos \(a, \.\.\.\) have no held-out"
    ):
        validation_of([one, other], RAW)
    with pytest.raises(ConfigError, match="no anomalous sample"):
        validation_of([one], RAW)
    with pytest.raises(LeakageError, match=r"^test/v: its split is 'test'"):
        TrainingSeries("test/v", "test", one.spans, one.labels, one.fitted, None)
