"""The demonstration, end to end: what it writes, and what makes which stage run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from cache.digest import read_json
from manifests.schema import (
    ANNOTATIONS,
    REPLICATES,
    RUN_EXPLANATIONS,
    RUN_INTERVALS,
    RUN_SCORES,
    SELECTION,
    VIDEOS,
)
from manifests.table import read_table
from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]


def built(called: Called) -> dict[str, int]:
    return {name: count for name, count in called.value()["built"].items() if count}


def frames_of(path: Path) -> int:
    """The frame count of a video by plain decoding."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_every_frame_of_every_video_has_exactly_one_score(demo: Demo) -> None:
    videos = {
        v["video_id"]: v for v in read_table(demo.folder / "videos.parquet", VIDEOS).to_pylist()
    }
    scores = read_table(demo.folder / "scores.parquet", RUN_SCORES).to_pylist()
    for name, video in videos.items():
        mine = [row for row in scores if row["video_id"] == name]
        assert [row["segment"] for row in mine] == list(range(len(mine)))
        assert mine[0]["start_frame"] == 0
        assert all(one["end_frame"] == two["start_frame"] for one, two in pairwise(mine))
        assert all(one["end_s"] == two["start_s"] for one, two in pairwise(mine))
        assert mine[-1]["end_frame"] == video["n_frames"]
        assert mine[-1]["end_frame"] == frames_of(demo.folder / "data" / "videos" / video["path"])
        assert all(0 <= row["score"] <= 1 for row in mine)
        assert mine[-1]["end_s"] == pytest.approx(video["duration"])


def test_the_results_have_the_documented_columns(demo: Demo) -> None:
    for name, schema in (
        ("scores", RUN_SCORES),
        ("intervals", RUN_INTERVALS),
        ("explanations", RUN_EXPLANATIONS),
        ("layers", SELECTION),
        ("videos", VIDEOS),
    ):
        table = read_table(demo.folder / f"{name}.parquet", schema)
        assert tuple(table.column_names) == schema.names
        assert table.num_rows > 0, name


def test_intervals_are_what_lies_above_the_threshold(demo: Demo) -> None:
    scores = read_table(demo.folder / "scores.parquet", RUN_SCORES).to_pylist()
    intervals = read_table(demo.folder / "intervals.parquet", RUN_INTERVALS).to_pylist()
    threshold = intervals[0]["threshold"]
    scorer = read_json(demo.folder / "scorer" / "scorer.json")
    assert threshold == pytest.approx(scorer["mu"] + 0.2 * scorer["sigma"])
    for name in {row["video_id"] for row in scores}:
        above = [r for r in scores if r["video_id"] == name and r["smoothed"] > threshold]
        inside = [i for i in intervals if i["video_id"] == name]
        frames = sum(r["end_frame"] - r["start_frame"] for r in above)
        assert sum(i["end_frame"] - i["start_frame"] for i in inside) == frames
        for row in above:
            holders = [
                i for i in inside
                if i["start_frame"] <= row["start_frame"] and row["end_frame"] <= i["end_frame"]
            ]  # fmt: skip
            assert len(holders) == 1


def test_the_metrics_agree_with_scikit_learn_on_plain_frame_arrays(demo: Demo) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = read_table(demo.folder / "scores.parquet", RUN_SCORES).to_pylist()
    index = next((demo.folder / "store" / "index").glob("*/*"))
    spans = read_table(index / "annotations.parquet", ANNOTATIONS).to_pylist()
    videos = read_table(demo.folder / "videos.parquet", VIDEOS).to_pylist()
    truth, said = [], []
    for video in videos:
        if video["split"] != "test":
            continue
        label = np.zeros(video["n_frames"], dtype=int)
        for span in spans:
            if span["video_id"] == video["video_id"]:
                label[span["start_frame"] : span["end_frame"]] = 1
        score = np.full(video["n_frames"], np.nan)
        for row in scores:
            if row["video_id"] == video["video_id"]:
                score[row["start_frame"] : row["end_frame"]] = row["smoothed"]
        truth.append(label)
        said.append(score)
    metrics = read_json(demo.folder / "metrics.json")
    y, s = np.concatenate(truth), np.concatenate(said)
    assert metrics["auc"] == pytest.approx(roc_auc_score(y, s), abs=1e-9)
    assert metrics["ap"] == pytest.approx(average_precision_score(y, s), abs=1e-9)
    replicates = read_table(demo.folder / "replicates.parquet", REPLICATES)
    assert len(replicates) == metrics["bootstrap"]["replicates"] == 1000


def test_the_hidden_states_open_with_plain_zarr(demo: Demo) -> None:
    import zarr

    artifact = next((demo.folder / "store" / "forward").glob("*/*"))
    array = zarr.open_array(artifact / "states.zarr", mode="r")
    described = read_json(artifact / "states.json")
    slots = len(described["prompts"]) * len(described["layers"])
    assert array.shape == (described["segments"], slots, described["dim"])
    assert array.attrs["layers"] == described["layers"]
    assert np.isfinite(array[:]).all()


def test_a_second_run_does_nothing_and_imports_nothing_heavy(demo: Demo) -> None:
    code = (
        "import sys, json\nfrom pipeline.cli import main\n"
        f"try: main(['run', {str(demo.config)!r}])\nexcept SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nothing to do" in done.stdout
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {
        "torch",
        "transformers",
        "dask",
        "distributed",
        "sklearn",
        "pandas",
        "matplotlib",
        "av",
    }
    assert not loaded & heavy


@pytest.mark.parametrize("command", ["status", "plan", "check"])
def test_reporting_commands_import_nothing_heavy(demo: Demo, command: str) -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try: main([{command!r}, {str(demo.config)!r}])\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'transformers', 'dask', 'sklearn', 'pandas', 'matplotlib')\n"
        "assert not [name for name in heavy if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_plan_check_tells_by_its_exit_code(demo: Demo, hiprobe: Hiprobe) -> None:
    assert hiprobe("plan", demo.config, "--check").code == 0
    assert hiprobe("plan", demo.config, "--check", "--set", "localize.kappa=0.4").code == 4


def test_why_names_the_field_with_both_values(demo: Demo, hiprobe: Hiprobe) -> None:
    changed = ("--set", "localize.kappa=0.3")
    assert "localize.kappa: 0.2 -> 0.3" in hiprobe("why", demo.config, "threshold", *changed).out
    assert "waits for threshold" in hiprobe("why", demo.config, "localize", *changed).out
    prompt = ("--set", "explain.limit=1")
    one = hiprobe("why", demo.config, "explain", "test/fight_02", *prompt)
    assert "explain.limit: " in one.out
    assert "-> 1" in one.out
    assert "fresh" in hiprobe("why", demo.config, "decode", *changed).out
    assert "waits for localize" in hiprobe("why", demo.config, "evaluate", *changed).out


def test_why_names_the_input_and_the_videos_that_are_others(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    assert hiprobe(
        "run", own_demo.config, "--quiet", "--set", "fit.c=0.5", "--until", "fit"
    ).code == 0  # fmt: skip
    told = hiprobe("why", own_demo.config, "score", "test/fight_02", "--set", "fit.c=0.5").out
    assert "input scorer: " in told
    assert "other scorer" in hiprobe("plan", own_demo.config, "--set", "fit.c=0.5").out
    labels = own_demo.folder / "data" / "labels.csv"
    kept = [line for line in labels.read_text().splitlines() if "test/fight_02" not in line]
    labels.write_text("\n".join(kept) + "\n")
    fewer = ("--set", "data.unlisted=score")
    assert "1 fewer (test/fight_02)" in hiprobe("why", own_demo.config, "evaluate", *fewer).out


def test_changing_kappa_runs_localize_and_what_follows(own_demo: Demo, hiprobe: Hiprobe) -> None:
    changed = ("--set", "localize.kappa=0.9", "--set", "explain.max_new_tokens=2")
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *changed)
    assert done.code == 0
    assert set(built(done)) == {"threshold", "localize", "explain", "evaluate", "report"}


def test_changing_the_scorer_runs_fit_and_what_follows(own_demo: Demo, hiprobe: Hiprobe) -> None:
    done = hiprobe(
        "run", own_demo.config, "--quiet", "--json", "--set", "fit.c=0.01", "--until", "localize"
    )
    assert set(built(done)) == {"fit", "score", "threshold", "localize"}


def test_touched_files_and_a_renamed_folder_run_nothing(own_demo: Demo, hiprobe: Hiprobe) -> None:
    for path in own_demo.folder.glob("data/videos/*/*.mp4"):
        os.utime(path)
    assert hiprobe("plan", own_demo.config, "--check").code == 0
    (own_demo.folder / "data").rename(own_demo.folder / "moved")
    changed = ("--set", "data.videos=moved/videos", "--set", "data.labels=moved/labels.csv")
    assert hiprobe("plan", own_demo.config, "--check", *changed).code == 0
    assert built(hiprobe("run", own_demo.config, "--quiet", "--json", *changed)) == {}


def test_the_store_can_be_moved(own_demo: Demo, hiprobe: Hiprobe) -> None:
    (own_demo.folder / "store").rename(own_demo.folder / "elsewhere")
    assert hiprobe("plan", own_demo.config, "--check", "--set", "run.store=elsewhere").code == 0


def test_a_cache_is_enough_without_the_model(own_demo: Demo, hiprobe: Hiprobe) -> None:
    """A colleague with the team's store needs no backbone: its identity is in the configuration."""
    identity = read_json_config(own_demo)["backbone"]["identity"]
    shutil.rmtree(own_demo.folder / "backbone")
    without = ("--set", "backbone.model=", "--set", f"backbone.identity={identity}")
    assert hiprobe("plan", own_demo.config, *without, "--json").value()["stages"][3]["todo"] == 0
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *without, "--set", "fit.c=0.02")
    assert done.code == 0
    assert set(built(done)) == {"fit", "score", "threshold", "localize", "evaluate", "report"}
    assert done.value()["blocked"]["explain"] > 0  # but for where the intervals are the same


def read_json_config(demo: Demo) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((demo.folder / "config.toml").read_text())


def test_batch_size_and_a_selection_give_the_same_artifacts(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    before = digests(own_demo.folder / "store", "forward")
    done = hiprobe(
        "run", own_demo.config, "--quiet", "--json", "--until", "forward", "--limit", 2,
        "--set", "run.store=fresh", "--set", "forward.batch=3",
    )  # fmt: skip
    assert done.value()["built"]["forward"] == 2
    after = digests(own_demo.folder / "fresh", "forward")
    assert len(after) == 2
    assert after.items() <= before.items()


def digests(store: Path, stage: str) -> dict[str, str]:
    return {p.name: read_json(p / "commit.json")["digest"] for p in (store / stage).glob("*/*")}


def test_three_more_videos_are_three_items_and_the_reduces(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    videos = own_demo.folder / "data" / "videos"
    labels = own_demo.folder / "data" / "labels.csv"
    for number in range(3):
        # A comment at the end of an MP4 is other bytes and the same frames.
        data = sorted(videos.glob("test/*.mp4"))[number].read_bytes()
        tail = (8 + 4).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (videos / "test" / f"more_{number}.mp4").write_bytes(data + tail)
        with labels.open("a") as file:
            file.write(f"test/more_{number}.mp4,test,0,Normal,,\n")
    plan = hiprobe("plan", own_demo.config, "--json").value()
    todo = {s["stage"]: s["todo"] + s["waiting"] for s in plan["stages"]}
    assert {name: count for name, count in todo.items() if count} == {
        "index": 1, "decode": 3, "sample": 3, "forward": 3, "score": 3, "localize": 3,
        "explain": 3, "evaluate": 1, "report": 1,
    }  # fmt: skip
    done = hiprobe("run", own_demo.config, "--quiet", "--json", "--until", "sample")
    # The same timeline gives the same plan of keyframes: early cutoff, nothing to make.
    assert built(done) == {"index": 1, "decode": 3}


def test_figures_without_a_missing_video_say_so(own_demo: Demo, hiprobe: Hiprobe) -> None:
    (own_demo.folder / "data/videos/test/fight_02.mp4").unlink()
    counts = own_demo.folder / "counts.csv"
    counts.write_text("video,n_frames\ntest/fight_03,7\n")
    given = ("data.allow_missing=true", f'data.frame_counts=["{counts}"]')
    words = [word for field in given for word in ("--set", field)]
    assert hiprobe("check", own_demo.config).code == 2
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *words)
    assert built(done) == {"index": 1, "evaluate": 1, "report": 1}
    metrics = json.loads((own_demo.folder / "metrics.json").read_text())
    assert metrics["absent"]["test"] == {"count": 1, "videos": ["test/fight_02"]}
    assert [(f["video_id"], f["listed"]) for f in metrics["frame_counts"]] == [("test/fight_03", 7)]
    assert "test/fight_02" in hiprobe("show", own_demo.config).out


def test_only_one_stage_and_what_it_lacks(own_demo: Demo, hiprobe: Hiprobe) -> None:
    fresh = ("--set", "run.store=fresh", "--quiet")
    refused = hiprobe("run", own_demo.config, "--only", "score", *fresh)
    assert refused.code == 2
    assert "needs" in refused.out
    done = hiprobe("run", own_demo.config, "--only", "decode", "--json", *fresh)
    assert set(built(done)) == {"decode"}


def test_a_damaged_artifact_is_found_set_aside_and_made_again(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    store = own_demo.folder / "store"
    before = digests(store, "forward")
    artifact = next(iter((store / "forward").glob("*/*")))
    shard = next(p for p in (artifact / "states.zarr").rglob("*") if p.is_file() and "c" in p.parts)
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 4
    shard.write_bytes(data)
    assert hiprobe("cache", "verify", store).code == 0
    found = hiprobe("cache", "verify", store, "--full")
    assert found.code == 5
    # Another layer for every video: each one's states are read, also the damaged ones.
    changed = ("--set", "select.method=last", "--until", "score")
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *changed)
    if done.value()["built"].get("forward") is None:  # the flip lay in a layer that was not read
        assert hiprobe("cache", "repair", store, "--full").code == 0
        hiprobe("run", own_demo.config, "--quiet", "--json", "--until", "forward")
    assert hiprobe("cache", "verify", store, "--full").code == 0
    assert digests(store, "forward") == before
    assert len(list((store / "quarantine").iterdir())) == 1


def test_the_manifests_of_the_run_have_a_row_per_item(demo: Demo) -> None:
    table = pq.read_table(demo.folder / "manifests" / "forward.parquet").to_pylist()
    assert len(table) == 20
    for row in table:
        assert row["status"] == "ok"
        assert {"read", "forward", "write"} <= set(json.loads(row["seconds"]))


def test_results_of_another_configuration_do_not_stay_beside_new_ones(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    before = (own_demo.folder / "metrics.json").read_bytes()
    other = ("--quiet", "--set", "localize.kappa=1.5", "--until", "localize")
    assert hiprobe("run", own_demo.config, *other).code == 0
    assert not (own_demo.folder / "metrics.json").exists()
    assert (own_demo.folder / "outdated" / "metrics.json").read_bytes() == before
    assert (own_demo.folder / "layers.parquet").exists()  # the same under both
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert (own_demo.folder / "metrics.json").read_bytes() == before
    assert hiprobe("plan", own_demo.config, "--check").code == 0


def test_the_resolved_configuration_can_be_run_from_where_it_lies(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    resolved = own_demo.folder / "config.toml"
    assert hiprobe("plan", resolved, "--check").code == 0
    assert str(own_demo.folder) not in resolved.read_text()
    assert built(hiprobe("run", resolved, "--quiet", "--json")) == {}
    assert hiprobe("plan", resolved, "--check").code == 0


@pytest.mark.parametrize(
    ("stage", "name", "override"),
    [
        ("fit", "scorer.safetensors", "localize.kappa=0.2"),
        ("score", "scores.parquet", "localize.kappa=0.7"),
        ("moments", "moments.safetensors", "statistics.bins=32"),
    ],
)
def test_a_flipped_bit_is_found_on_reading_and_only_its_artifact_is_made_again(
    own_demo: Demo, hiprobe: Hiprobe, stage: str, name: str, override: str
) -> None:
    store = own_demo.folder / "store"
    before = digests(store, stage)
    victim = next((store / stage).glob(f"*/*/{name}"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 16
    victim.write_bytes(data)
    if stage == "fit":  # the scores are to be made again from it
        shutil.rmtree(store / "score")
    done = hiprobe(
        "run", own_demo.config, "--quiet", "--json", "--set", override, "--until", "localize"
    )
    assert done.code == 0, done.out
    assert built(done)[stage] == 1
    assert digests(store, stage).items() >= before.items()
    assert len(list((store / "quarantine").iterdir())) == 1
