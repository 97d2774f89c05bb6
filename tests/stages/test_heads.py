"""Stage heads: every figure of every head at every prompt, of the probing videos."""

import dataclasses

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from cache.digest import read_json
from cache.errors import ConfigError, ItemError
from manifests.schema import HEAD_REPLICATES, HEADS, SEGMENTS
from manifests.table import read_table, write_table
from stages import heads
from stages.contract import Job
from stages.probes.heads.description import describe, subject_of
from stages.probes.heads.discrepancy import room_for
from tests.payload import Folder
from tests.states import OTHER, QUESTION, write_artifact, write_heads_artifact

LAYERS, PER_LAYER, DIM = 3, 2, 4
QUESTIONS = (QUESTION, OTHER)
LABELS = {
    "a": {"split": "train", "label": 0, "intervals": None},
    "b": {"split": "train", "label": 1, "intervals": [[24, 400]]},
    "c/d.e": {"split": "train", "label": 1, "intervals": None},
}
NORMAL, ANOMALOUS = 15, 17


def make_videos(seed=0, dim=DIM, times=1):
    """[segments, prompts, layers, heads, head_dim], whose classes lie apart by layer."""
    generator = np.random.default_rng(seed)
    shape = (2, LAYERS, PER_LAYER, dim)
    gap = generator.normal(size=shape) * np.arange(LAYERS)[:, None, None]
    return {
        name: (generator.normal(size=(times * n, *shape)) + label * gap).astype(np.float32)
        for name, n, label in (("a", 14, 0), ("b", 11, 1), ("c/d.e", 7, 1))
    }


def write_spans(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    starts = 24 * np.arange(count)
    columns = {
        "segment": np.arange(count),
        "start_frame": starts,
        "end_frame": starts + 24,
        "start_s": starts / 30,
        "end_s": (starts + 24) / 30,
    }
    write_table(folder / "segments.parquet", SEGMENTS, columns)
    return Folder(folder)


def make_job(tmp_path, videos, labels=LABELS, pairs=(), out="out", questions=QUESTIONS, **changed):
    many = {"states": {}, "plan": {}}
    for name, rows in sorted(videos.items()):
        folder = tmp_path / out / "inputs" / name
        kept = rows[:, :, [p[0] for p in pairs], [p[1] for p in pairs]] if pairs else rows
        write_heads_artifact(folder / "states", kept, heads=pairs, questions=questions)
        many["states"][name] = Folder(folder / "states")
        many["plan"][name] = write_spans(folder / "plan", len(rows))
    (tmp_path / out / "made").mkdir(parents=True)
    settings = heads.Settings(**changed)
    return Job("set", settings, tmp_path / out / "made", {}, many, {"labels": labels})


def rows_and_labels(videos):
    """[n, prompts, layers, heads, dim], and the labels of every video, by name.

    The first segment of b is before its interval.
    """
    labels = [np.zeros(14), np.asarray([0] + [1] * 10), np.ones(7)]
    labels = [part.astype(np.int64) for part in labels]
    together = np.concatenate(labels)
    assert ((together == 0).sum(), (together == 1).sum()) == (NORMAL, ANOMALOUS)
    return np.concatenate([videos[name] for name in sorted(videos)]), labels


def test_every_head_has_its_figures_at_every_prompt(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos)
    assert heads.compute(job).rows == LAYERS * PER_LAYER * 2
    table = read_table(job.out / "heads.parquet", HEADS).to_pylist()
    expected = [(k, h, m) for k in range(LAYERS) for h in range(PER_LAYER) for m in range(2)]
    assert [(row["layer"], row["head"], row["prompt"]) for row in table] == expected
    rows, labels = rows_and_labels(videos)
    subject = subject_of(labels, eps=1e-6, samples=2000, starts=10, seed=0, replicates=200)
    drawn = read_table(job.out / "replicates.parquet", HEAD_REPLICATES).to_pylist()
    assert [(r["layer"], r["head"], r["prompt"], r["replicate"]) for r in drawn] == [
        (*slot, number) for slot in expected for number in range(200)
    ]
    for place, row in enumerate(table):
        one = rows[:, row["prompt"], row["layer"], row["head"]][:, None]
        found = describe(one, subject, room_for(32))
        assert (row["n_normal"], row["n_anomalous"]) == (NORMAL, ANOMALOUS)
        for name, (value,) in found.figures.items():
            assert row[name] == pytest.approx(value, rel=1e-12), name
        replicates = [r["separability"] for r in drawn[place * 200 : (place + 1) * 200]]
        assert replicates == pytest.approx(found.separability[0], rel=1e-12)
    assert len({row["lda"] for row in table}) == len(table)
    assert read_json(job.out / "heads.json") == {
        "eps": 1e-6, "starts": 10, "seed": 0, "samples": 32, "replicates": 200,
        "n_normal": NORMAL, "n_anomalous": ANOMALOUS, "heads": 6, "head_dim": DIM, "questions": list(QUESTIONS),
        "videos": 3,
    }  # fmt: skip


def test_heads_that_were_kept_by_name_have_the_same_figures(tmp_path):
    videos, pairs = make_videos(), [(0, 1), (2, 0), (2, 1)]
    whole, some = make_job(tmp_path, videos), make_job(tmp_path, videos, pairs=pairs, out="some")
    heads.compute(whole)
    heads.compute(some)
    every, named = (read_table(j.out / "heads.parquet", HEADS).to_pylist() for j in (whole, some))
    expected = [row for row in every if (row["layer"], row["head"]) in pairs]
    assert len(named) == len(expected) == 6
    assert named == expected


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, make_videos(), out=name, samples=20)
        result = heads.compute(job)
        assert result.auxiliary == frozenset()
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]
    assert set(outs[0]) == {
        "heads.parquet", "heads.json", "replicates.parquet", "training_rows.parquet"
    }  # fmt: skip


def test_neither_workers_nor_threads_change_a_bit(tmp_path):
    # As large as it takes for two BLAS threads to share a product where nobody stops them.
    videos, outs = make_videos(dim=128, times=2), []
    for workers, threads in ((1, 1), (2, 1), (2, 2), (5, 4)):
        job = make_job(tmp_path, videos, out=f"{len(outs)}", workers=workers)
        with threadpool_limits(limits=threads):
            heads.compute(job)
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[1:] == outs[:1] * 3


def test_without_replicates_there_are_none(tmp_path):
    job = make_job(tmp_path, make_videos(), replicates=0)
    heads.compute(job)
    assert len(read_table(job.out / "replicates.parquet", HEAD_REPLICATES)) == 0


def test_progress_counts_every_layer_at_every_prompt(tmp_path):
    seen = []
    job = dataclasses.replace(
        make_job(tmp_path, make_videos()), progress=lambda done, total: seen.append((done, total))
    )
    heads.compute(job)
    assert seen == [(done, 6) for done in range(1, 7)]


def test_only_mmd_and_nmi_are_computed_on_a_sample(tmp_path):
    tables = []
    for name, most in (("all", 2000), ("some", 20)):
        job = make_job(tmp_path, make_videos(), out=name, samples=most)
        heads.compute(job)
        tables.append(read_table(job.out / "heads.parquet", HEADS).to_pydict())
        assert read_json(job.out / "heads.json")["samples"] == min(most, 32)
    for figure in ("lda", "kl", "separability"):
        assert tables[0][figure] == tables[1][figure]
    assert tables[0]["mmd"] != tables[1]["mmd"]


def test_a_head_that_says_nothing_has_no_figures(tmp_path):
    videos = make_videos()
    for rows in videos.values():
        rows[:, 1, 1, 0] = 0.5
    job = make_job(tmp_path, videos)
    heads.compute(job)
    table = read_table(job.out / "heads.parquet", HEADS).to_pylist()
    for row in table:
        dead = (row["layer"], row["head"], row["prompt"]) == (1, 0, 1)
        assert {row[name] is None for name in ("lda", "kl", "mmd", "nmi", "separability")} == {dead}
    for row in read_table(job.out / "replicates.parquet", HEAD_REPLICATES).to_pylist():
        dead = (row["layer"], row["head"], row["prompt"]) == (1, 0, 1)
        assert (row["separability"] is None) == dead


def test_what_does_not_fit_is_refused(tmp_path):
    videos = make_videos()
    normal = dict.fromkeys(LABELS, LABELS["a"])
    with pytest.raises(ConfigError, match="no anomalous sample"):
        heads.compute(make_job(tmp_path, videos, labels=normal, out="one"))
    some = {name: LABELS[name] for name in ("a", "b")}
    with pytest.raises(ConfigError, match=r"c/d\.e: .*no label"):
        heads.compute(make_job(tmp_path, videos, labels=some, out="two"))
    with pytest.raises(ConfigError, match="there is no probing video"):
        heads.compute(make_job(tmp_path, {}, out="three"))
    videos["b"][3, 1, 2, 1, 0] = np.inf
    with pytest.raises(ItemError, match=r"b: segment 3 of a head of layer 2 \(number 1 of"):
        heads.compute(make_job(tmp_path, videos, out="four"))


def test_where_no_heads_are_kept_it_says_what_to_set(tmp_path):
    job = make_job(tmp_path, make_videos())
    write_artifact(tmp_path / "none", np.zeros((14, 2, 4), dtype=np.float32))
    job.many["states"]["a"] = Folder(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"a: .* none are kept; set forward\.heads to"):
        heads.compute(job)


@pytest.mark.parametrize("other", [{"pairs": [(0, 1), (2, 0)]}, {"questions": (OTHER, QUESTION)}])
def test_videos_that_keep_other_heads_or_prompts_are_refused(tmp_path, other):
    job = make_job(tmp_path, make_videos())
    job.many["states"]["b"] = make_job(tmp_path, make_videos(), out="o", **other).many["states"][
        "b"
    ]
    with pytest.raises(ConfigError, match=r"b: it has Heads\(.* a has .* compute all with one"):
        heads.compute(job)
