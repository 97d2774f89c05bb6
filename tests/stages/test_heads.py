"""Stage heads: every figure of every head at every prompt, of the probing videos."""

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import ConfigError, ItemError
from manifests.schema import HEADS, SEGMENTS
from manifests.table import read_table, write_table
from stages import heads
from stages.contract import Job
from stages.probes.heads import figures
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


def make_videos(seed=0):
    """[segments, prompts, layers, heads, head_dim], whose classes lie apart by layer."""
    generator = np.random.default_rng(seed)
    shape = (2, LAYERS, PER_LAYER, DIM)
    gap = generator.normal(size=shape) * np.arange(LAYERS)[:, None, None]
    return {
        name: (generator.normal(size=(n, *shape)) + label * gap).astype(np.float32)
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


def rows_and_labels(videos, prompt):
    """[layers, heads, n, dim], and the labels: the first segment of b is before its interval."""
    rows = np.concatenate([videos[name][:, prompt] for name in sorted(videos)]).astype(np.float64)
    labels = np.asarray([0] * 14 + [0] + [1] * 10 + [1] * 7)
    assert (labels == 0).sum() == NORMAL
    assert (labels == 1).sum() == ANOMALOUS
    return rows.transpose(1, 2, 0, 3), labels


def test_every_head_has_its_figures_at_every_prompt(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos)
    assert heads.compute(job).rows == LAYERS * PER_LAYER * 2
    table = read_table(job.out / "heads.parquet", HEADS).to_pylist()
    expected = [(k, h, m) for k in range(LAYERS) for h in range(PER_LAYER) for m in range(2)]
    assert [(row["layer"], row["head"], row["prompt"]) for row in table] == expected
    for row in table:
        rows, labels = rows_and_labels(videos, row["prompt"])
        one = rows[row["layer"], row["head"]][None]
        assert (row["n_normal"], row["n_anomalous"]) == (NORMAL, ANOMALOUS)
        assert row["lda"] == pytest.approx(figures.lda(one, labels, 1e-6)[0], rel=1e-9)
        assert row["kl"] == pytest.approx(figures.symmetric_kl(one, labels, 1e-6)[0], rel=1e-9)
        assert row["mmd"] == pytest.approx(figures.mmd(one, labels)[0], rel=1e-9)
        assert row["nmi"] == pytest.approx(figures.nmi(one, labels, starts=10, seed=0)[0])
        assert row["separability"] == pytest.approx(figures.separability(one, labels)[0])
    assert len({row["lda"] for row in table}) == len(table)
    assert read_json(job.out / "heads.json") == {
        "eps": 1e-6, "starts": 10, "seed": 0, "samples": 32, "n_normal": NORMAL,
        "n_anomalous": ANOMALOUS, "heads": 6, "head_dim": DIM, "questions": list(QUESTIONS),
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
    for row, other in zip(named, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-12)


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, make_videos(), out=name, samples=20)
        result = heads.compute(job)
        assert result.auxiliary == frozenset()
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]
    assert set(outs[0]) == {"heads.parquet", "heads.json", "training_rows.parquet"}


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
