"""Stage statistics: the table of layers equals a plain computation over all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from cache.digest import file_digest, read_json
from cache.errors import ConfigError
from manifests.schema import LAYER_REPLICATES, LAYERS, SEGMENTS
from manifests.table import read_table, write_table
from stages import moments, statistics
from stages.contract import Job
from stages.probes.resampling import video_draws
from tests.payload import Folder
from tests.states import OTHER, QUESTION, write_artifact


def make_video(folder, rows, label, question=QUESTION, **states):
    """Write the artifacts of one probing video; returns its payloads by role."""
    n = len(rows)
    for part in ("states", "plan", "moments"):
        (folder / part).mkdir(parents=True)
    write_artifact(folder / "states", rows, **states)
    starts = 24 * np.arange(n)
    columns = {
        "segment": np.arange(n),
        "start_frame": starts,
        "end_frame": starts + 24,
        "start_s": starts / 30,
        "end_s": (starts + 24) / 30,
    }
    write_table(folder / "plan/segments.parquet", SEGMENTS, columns)
    payloads = {part: Folder(folder / part) for part in ("states", "plan", "moments")}
    single = {part: payloads[part] for part in ("states", "plan")}
    values = {"label": label, "question": question}
    moments.compute(Job(folder.name, moments.Settings(), folder / "moments", single, values=values))
    return payloads


def make_job(root, videos, labels, states=None, **changed):
    made = {
        name: make_video(root / name, rows, labels[name], **(states or {}))
        for name, rows in videos.items()
    }
    return job_of(root, made, labels, "out", **changed)


def job_of(root, made, labels, out, question=QUESTION, **changed):
    (root / out).mkdir(parents=True, exist_ok=True)
    many = {
        part: {name: payloads[part] for name, payloads in sorted(made.items())}
        for part in ("moments", "states", "plan")
    }
    values = {"labels": labels, "question": question}
    return Job("set", statistics.Settings(**changed), root / out, many=many, values=values)


def table_of(job):
    return read_table(job.out / "layers.parquet", LAYERS).to_pydict()


def naive_entropy(x, bins):
    if x.min() == x.max():
        return 0.0
    codes = np.floor((x - x.min()) * (bins / (x.max() - x.min()))).clip(max=bins - 1)
    shares = np.unique(codes, return_counts=True)[1] / len(x)
    return -(shares * np.log2(shares)).sum()


LABEL = {n: {"split": "train", "label": n, "intervals": None} for n in (0, 1)}


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=5),
    st.sampled_from(["float32", "float16"]),
    st.integers(0, 2**32 - 1),
)
def test_every_figure_equals_a_plain_computation(tmp_path_factory, lengths, dtype, seed):
    generator = np.random.default_rng(seed)
    videos, labels = {}, {}
    for i, n in enumerate([*lengths, 2]):
        videos[f"v{i}"] = (30 + (i % 2) + generator.normal(size=(n, 3, 4))).astype(dtype)
        videos[f"v{i}"][:, 1, 0] = 5.0
        labels[f"v{i}"] = LABEL[i % 2]
    root = tmp_path_factory.mktemp("statistics")
    job = make_job(root, videos, labels, {"dtype": dtype}, bins=16)
    assert statistics.compute(job).rows == 3
    found = table_of(job)
    rows = np.concatenate([videos[name] for name in sorted(videos)]).astype(np.float64)
    y = np.concatenate([np.full(len(videos[n]), labels[n]["label"]) for n in sorted(videos)])
    normal, anomalous = rows[y == 0], rows[y == 1]
    gap = (normal.mean(axis=0) - anomalous.mean(axis=0)) ** 2
    s2n, s2a = (np.maximum(part.var(axis=0), 1e-6) for part in (normal, anomalous))
    kl = (0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1)).mean(axis=1)
    ldr = (gap / (normal.var(axis=0) + anomalous.var(axis=0) + 1e-6)).mean(axis=1)
    entropy = [np.mean([naive_entropy(rows[:, i, d], 16) for d in range(4)]) for i in range(3)]
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-9)
    np.testing.assert_allclose(found["ldr"], ldr, rtol=1e-9)
    np.testing.assert_allclose(found["entropy"], entropy, rtol=1e-9)
    silhouette = [silhouette_score(rows[:, i], y) for i in range(3)]
    np.testing.assert_allclose(found["silhouette"], silhouette, rtol=1e-9, atol=1e-12)
    assert found["n_normal"] == [len(normal)] * 3
    assert found["n_anomalous"] == [len(anomalous)] * 3
    assert found["layer"] == [0, 1, 2]


def two_videos(seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: (shift + generator.normal(size=(n, 3, 4))).astype(np.float32)
        for name, shift, n in (("a", 0, 40), ("b", 1, 25), ("c", 0, 9))
    }, {"a": LABEL[0], "b": LABEL[1], "c": LABEL[0]}


def test_the_number_of_workers_changes_no_byte(tmp_path):
    videos, labels = two_videos()
    made = {name: make_video(tmp_path / name, rows, labels[name]) for name, rows in videos.items()}
    digests = set()
    for workers in (1, 2, 5):
        job = job_of(tmp_path, made, labels, f"out{workers}", workers=workers)
        statistics.compute(job)
        digests.add(tuple(file_digest(p) for p in sorted(job.out.iterdir())))
    assert len(digests) == 1


def test_the_record_says_what_the_figures_rest_on(tmp_path):
    job = make_job(tmp_path, *two_videos(), silhouette_samples=20, seed=3)
    statistics.compute(job)
    assert read_json(job.out / "statistics.json") == {
        "bins": 64, "eps": 1e-6, "n_normal": 49, "n_anomalous": 25, "dim": 4, "layers": 3,
        "videos": 3, "silhouette_samples": 20, "silhouette_exact": False, "replicates": 200, "seed": 3,
    }  # fmt: skip


def replicates_of(job):
    return read_table(job.out / "replicates.parquet", LAYER_REPLICATES).to_pydict()


def test_replicates_are_the_figures_of_the_videos_as_they_are_drawn(tmp_path):
    videos, labels = two_videos()
    videos["d"], labels["d"] = videos["b"][:11] + 0.5, LABEL[1]
    job = make_job(tmp_path / "own", videos, labels, replicates=6, seed=4, bins=8)
    statistics.compute(job)
    found = replicates_of(job)
    assert found["replicate"] == [n for n in range(6) for _ in range(3)]
    assert found["layer"] == [0, 1, 2] * 6
    names = sorted(videos)
    draws = video_draws([np.full(len(videos[v]), labels[v]["label"]) for v in names], 6, 4)
    assert len({tuple(row) for row in draws.tolist()}) > 3
    every = np.concatenate([videos[name] for name in names]).astype(float)
    for replicate, times in enumerate(draws):
        # The same table, computed for a subset that has each video as often as it is drawn.
        copies = {
            f"{name}{n}": videos[name]
            for name, count in zip(names, times, strict=True) for n in range(count)
        }  # fmt: skip
        again = make_job(
            tmp_path / f"r{replicate}", copies, {name: labels[name[0]] for name in copies},
            replicates=0, bins=8,
        )  # fmt: skip
        statistics.compute(again)
        expected, rows = table_of(again), slice(3 * replicate, 3 * replicate + 3)
        for name in ("kl", "ldr", "silhouette"):
            np.testing.assert_allclose(found[name][rows], expected[name], rtol=1e-9)
        # The bins are those of all videos, and not of the drawn ones.
        drawn = np.concatenate(list(copies.values())).astype(float)
        for layer in range(3):
            naive = []
            for d in range(4):
                low, high = every[:, layer, d].min(), every[:, layer, d].max()
                counts, _ = np.histogram(drawn[:, layer, d], bins=8, range=(low, high))
                shares = counts[counts > 0] / len(drawn)
                naive.append(-(shares * np.log2(shares)).sum())
            assert found["entropy"][rows][layer] == pytest.approx(np.mean(naive), rel=1e-9)


def test_a_replicate_without_a_class_has_nulls(tmp_path):
    generator = np.random.default_rng(0)
    videos = {name: generator.normal(size=(6, 2, 3)).astype(np.float32) for name in "abc"}
    # Only `a` has normal segments: a replicate that does not draw it has none.
    labels = dict.fromkeys("bc", LABEL[1])
    labels["a"] = {"split": "train", "label": 1, "intervals": [[0, 48]]}
    job = make_job(tmp_path, videos, labels, replicates=40)
    statistics.compute(job)
    found = replicates_of(job)
    without = [value is None for value in found["kl"]]
    assert 0 < sum(without) < len(without)
    for name in ("ldr", "silhouette"):
        assert [value is None for value in found[name]] == without
    assert None not in found["entropy"]


def test_no_replicates_are_no_table_and_the_same_figures(tmp_path):
    made = {}
    for replicates in (0, 5):
        job = make_job(tmp_path / str(replicates), *two_videos(), replicates=replicates)
        statistics.compute(job)
        made[replicates] = (job.out / "layers.parquet").read_bytes()
        assert (job.out / "replicates.parquet").exists() == bool(replicates)
        assert read_json(job.out / "statistics.json")["replicates"] == replicates
    assert made[0] == made[5]


def test_the_standard_error_of_the_silhouette_is_that_of_a_sample(tmp_path):
    errors = {}
    for samples in (20, 100):
        job = make_job(tmp_path / str(samples), *two_videos(), silhouette_samples=samples)
        statistics.compute(job)
        errors[samples] = table_of(job)["silhouette_se"]
        record = read_json(job.out / "statistics.json")
        assert record["silhouette_samples"] == min(samples, 74)
        assert record["silhouette_exact"] == (samples == 100)
    assert errors[100] == [0.0] * 3
    assert all(0 < error < 0.2 for error in errors[20])


def test_one_sample_of_each_class_is_enough(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    job = make_job(tmp_path, {"a": rows, "b": rows + 1}, {"a": LABEL[0], "b": LABEL[1]})
    statistics.compute(job)
    found = table_of(job)
    assert found["silhouette"] == [0.0, 0.0]
    assert found["entropy"] == [1.0, 1.0]
    np.testing.assert_allclose(found["ldr"], 1e6)


@pytest.mark.parametrize(("value", "name"), [(0, "anomalous"), (1, "normal")])
def test_a_class_without_samples_is_named(tmp_path, value, name):
    videos, _ = two_videos()
    job = make_job(tmp_path, videos, dict.fromkeys(videos, LABEL[value]))
    with pytest.raises(ConfigError, match=rf"no {name} sample.*add at least one {name}"):
        statistics.compute(job)


def test_layers_keep_their_numbers_and_a_question_its_own_figures(tmp_path):
    videos, labels = two_videos()
    plain = make_job(tmp_path / "plain", videos, labels)
    kept = {"layers": [16, 20, 24], "questions": (OTHER, QUESTION)}
    some = make_job(tmp_path / "some", videos, labels, kept)
    for job in (plain, some):
        statistics.compute(job)
    expected, found = table_of(plain), table_of(some)
    assert found["layer"] == [16, 20, 24]
    assert {**found, "layer": [0, 1, 2]} == expected
    assert len(set(found["kl"])) == 3
    # The other question's states are 1000 more: float32 keeps fewer digits of what varies.
    made = {
        name: make_video(tmp_path / "other" / name, rows, labels[name], OTHER, **kept)
        for name, rows in videos.items()
    }
    other = job_of(tmp_path / "other", made, labels, "out", question=OTHER)
    statistics.compute(other)
    assert table_of(other)["kl"] != found["kl"]
    np.testing.assert_allclose(table_of(other)["kl"], found["kl"], rtol=1e-2)


def test_videos_of_two_backbones_are_refused(tmp_path):
    rows = np.zeros((2, 3, 4), dtype=np.float32)
    labels = {"a": LABEL[0], "b": LABEL[1]}
    job = make_job(tmp_path / "wide", {"a": rows, "b": rows[:, :, :3]}, labels)
    with pytest.raises(
        ConfigError, match=r"b: .* layers 0 to 2 \[3\], those of other .* layers 0 to 2 \[4\]"
    ):
        statistics.compute(job)
    made = {
        "a": make_video(tmp_path / "a", rows, LABEL[0], layers=[16, 20, 24]),
        "b": make_video(tmp_path / "b", rows, LABEL[1], layers=[16, 20, 23]),
    }
    with pytest.raises(ConfigError, match=r"b: .* layers 16, 20, 23 \[4\].* 16, 20, 24 \[4\]"):
        statistics.compute(job_of(tmp_path, made, labels, "out"))


def test_labels_that_are_missing_or_have_changed_are_refused(tmp_path):
    videos, labels = two_videos()
    made = {name: make_video(tmp_path / name, rows, labels[name]) for name, rows in videos.items()}
    with pytest.raises(ConfigError, match=r"c: .*no label"):
        statistics.compute(job_of(tmp_path, made, {"a": LABEL[0], "b": LABEL[1]}, "missing"))
    with pytest.raises(ConfigError, match=r"25 anomalous segments, the labels give 34"):
        statistics.compute(job_of(tmp_path, made, {**labels, "c": LABEL[1]}, "changed"))
