"""Variants of a run: what they share with it, what they leave alone, and what stops one of them."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.digest import file_digest, read_json
from cache.errors import ConfigError
from manifests.schema import SELECTION
from manifests.table import read_table
from pipeline import demonstration
from pipeline.comparison import Row, compare, comparison_text, read_comparison, write_comparison
from pipeline.config import Config, load_config
from pipeline.plan import plan_all
from pipeline.toml import to_toml
from pipeline.variants import Variant, VariantRun, run_variants, variant_configs
from tests.conftest import Called, Demo
from tests.pipeline import worlds

Hiprobe = Callable[..., Called]
BASE = Variant("base", "as it is")
KAPPA = Variant("kappa", "a higher threshold", {"localize.kappa": 0.45})
LAST = Variant("last", "the last layer", {"select.method": "last"})
NO_LAYER = Variant("no-layer", "a layer that is not there", {"select.method": "fixed:99"})
MODEL = ("forward", "moments", "statistics", "explain")


def configuration(folder: Path, text: str = "") -> Config:
    path = folder / "mine.toml"
    path.write_text("[data]\nvideos = 'v'\n" + text)
    return load_config(path)


def files(folder: Path) -> dict[str, str]:
    """Every file of a run's own results by its digest, but for the log and the variants."""
    others = ("store", "data", "backbone", "variants", "events.jsonl", "variants.parquet")
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in others
    }


def show(hiprobe: Hiprobe, run: VariantRun) -> dict[str, Any]:
    """What `hiprobe show --json` prints for the results of a variant."""
    found: dict[str, Any] = hiprobe("show", run.config.results / "config.toml", "--json").value()
    return found


def expected(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures of a row, from metrics.json by hand."""
    return {
        "auc": metrics["auc"],
        "auc_low": metrics["bootstrap"]["auc"]["low"],
        "auc_high": metrics["bootstrap"]["auc"]["high"],
        "ap": metrics["ap"],
        "within_video_auc": metrics["macro_within_video_auc"],
        "auc_thresholded": metrics["auc_thresholded"],
        "event_f1": metrics["events"]["0.3"]["f1"],
        "false_alarms_per_hour": metrics["false_alarms_per_hour"],
        "videos": metrics["counts"]["videos"],
        "missing": metrics["missing"]["count"],
    }


def figures(row: Row) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Row)]
    return {name: getattr(row, name) for name in names[names.index("auc") : -1]}


# What a variant is


def test_a_variant_has_the_store_of_its_run_and_a_results_folder_within_that_of_it(
    tmp_path: Path,
) -> None:
    base = configuration(tmp_path, "[fit]\nc = 0.5\n[localize]\nsigma = 1")
    same, other = variant_configs(base, (BASE, KAPPA))
    assert same is base
    assert other.store == base.store
    assert other.results == base.results / "variants" / "kappa"
    assert other.sections["localize"].kappa == 0.45
    assert other.sections["localize"].sigma == 1.0
    assert other.sections["fit"] == base.sections["fit"]
    assert base.sections["localize"].kappa == 0.2


def test_the_configuration_of_a_variant_names_no_place_on_this_machine(tmp_path: Path) -> None:
    base = configuration(tmp_path, f"[run]\nruns = '{tmp_path}/results'")
    other = variant_configs(base, (BASE, KAPPA))[1]
    other.results.mkdir(parents=True)
    written = to_toml(other, identity="")
    assert str(tmp_path) not in written
    assert tomllib.loads(written)["run"]["runs"] == ".."


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ((KAPPA, LAST), "the first, and no other, must be without overrides"),
        ((BASE, KAPPA, Variant("again", "the base once more")), "the first, and no other"),
        ((), "the first, and no other"),
        ((BASE, KAPPA, dataclasses.replace(LAST, name="kappa")), "the name kappa"),
        ((BASE, Variant("a/b", "", {"fit.c": 2.0})), "must be a plain folder name"),
        ((BASE, Variant("x", "", {"fit.sea": 2.0})), "mine.toml, variant x:\n  unknown field"),
        ((BASE, Variant("x", "", {"fit.c": -1.0})), "fit.c = -1.0: must be more than 0"),
        ((BASE, Variant("x", "", {"kappa": 2.0})), "unknown section [kappa]"),
        ((BASE, Variant("x", "", {"run.store": "other"})), "run.store cannot be another"),
        ((BASE, Variant("x", "", {"run.name": "other"})), "run.name cannot be another"),
    ],
)
def test_what_cannot_be_right_is_said_before_any_work(
    tmp_path: Path, variants: tuple[Variant, ...], said: str
) -> None:
    base = configuration(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run_variants(base, variants)
    assert said in str(caught.value)
    assert not base.store.exists()
    assert not base.results.exists()


@pytest.mark.parametrize(
    ("overrides", "made"),
    [
        (
            {"localize.threshold": "fixed:0.5"},
            {"threshold", "localize", "evaluate", "explain", "report"},
        ),
        (
            {"fit.c": 0.1},
            {"fit", "score", "threshold", "localize", "evaluate", "explain", "report"},
        ),
        (
            {"select.method": "last"},
            {
                "select",
                "fit",
                "score",
                "threshold",
                "localize",
                "evaluate",
                "explain",
                "projection",
                "report",
            },
        ),
    ],
)
def test_what_a_variant_does_not_change_is_found_by_its_key(
    overrides: dict[str, Any], made: set[str]
) -> None:
    base = worlds.config()
    settled, _ = worlds.settle(worlds.world(base))
    other = variant_configs(base, (BASE, Variant("x", "", overrides)))[1]
    plans = plan_all(worlds.world(other, committed=settled.committed))
    assert set(worlds.work(plans)) == made


# Variants of the finished demonstration


def test_a_variant_makes_what_its_fields_change_and_leaves_the_base_run_as_it_was(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    config = load_config(own_demo.config)
    before = files(own_demo.folder)
    assert {"metrics.json", "report.html", "manifests/score.parquet"} <= set(before)
    stored = {s: {p.name for p in config.store.glob(f"{s}/*/*")} for s in MODEL}

    base, kappa = run_variants(config, (BASE, KAPPA))

    assert (base.problem, kappa.problem) == ("", "")
    assert not any(base.built.values())
    assert {stage for stage, count in kappa.built.items() if count} == {
        "threshold",
        "localize",
        "evaluate",
    }
    assert files(own_demo.folder) == before
    assert {s: {p.name for p in config.store.glob(f"{s}/*/*")} for s in MODEL} == stored

    again = run_variants(config, (BASE, KAPPA))
    assert not any(count for one in again for count in one.built.values())
    assert [one.evaluated for one in again] == [True, True]
    assert hiprobe("plan", own_demo.config, "--check").code == 0


def test_the_results_of_a_variant_are_those_of_a_run_of_its_own(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    _, kappa = run_variants(load_config(own_demo.config), (BASE, KAPPA))
    alone = ("--set", "localize.kappa=0.45", "--set", "run.name=alone", "--until", "evaluate")
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *alone)
    assert not any(done.value()["built"].values())
    for name in ("metrics.json", "scores.parquet", "intervals.parquet", "scorer/scorer.json"):
        one = kappa.config.results / name
        assert file_digest(one) == file_digest(own_demo.folder.parent / "alone" / name), name
    # The usual commands work on it, and what it lacks is the words and the page.
    plan = hiprobe("plan", kappa.config.results / "config.toml", "--json").value()
    work = {s["stage"] for s in plan["stages"] if s["todo"] + s["waiting"]}
    assert work == {"explain", "report"}


def test_the_table_holds_the_figures_that_show_prints_for_each_run(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    runs = run_variants(load_config(own_demo.config), (BASE, KAPPA, LAST))
    rows = compare(runs)
    metrics = read_json(own_demo.folder / "metrics.json")
    assert figures(rows[0]) == expected(metrics)
    for row, run in zip(rows[:3], runs, strict=True):
        assert figures(row) == expected(show(hiprobe, run)), row.name
    assert [row.kind for row in rows[:3]] == ["base", "variant", "variant"]
    assert [json.loads(row.overrides) for row in rows[:3]] == [{}, KAPPA.overrides, LAST.overrides]
    # Another threshold moves intervals and nothing that the curve decides.
    assert show(hiprobe, runs[1])["threshold"]["kappa"] == 0.45
    assert (rows[1].auc, rows[1].ap, rows[1].layer) == (rows[0].auc, rows[0].ap, rows[0].layer)
    layers = read_table(own_demo.folder / "layers.parquet", SELECTION)["layer"].to_pylist()
    assert rows[2].layer == max(layers)
    baselines = {row.name: (row.auc, row.ap) for row in rows[3:]}
    assert {row.kind for row in rows[3:]} == {"baseline"}
    assert baselines == {n: (f["auc"], f["ap"]) for n, f in metrics["baselines"].items()}


def test_a_variant_that_fails_is_named_with_its_reason_and_the_others_go_on(
    own_demo: Demo,
) -> None:
    config = load_config(own_demo.config)
    runs = run_variants(config, (BASE, NO_LAYER, KAPPA))
    assert [bool(one.problem) for one in runs] == [False, True, False]
    assert "99" in runs[1].problem
    assert "\n" not in runs[1].problem
    rows = compare(runs)
    assert rows[1].auc is None
    assert rows[2].auc is not None
    text = comparison_text(rows)
    assert f"FAILED no-layer: {runs[1].problem}" in text
    line = next(line for line in text.splitlines() if line.startswith("no-layer"))
    assert line.split()[1:8] == ["-"] * 7


def test_figures_of_an_earlier_success_are_not_those_of_a_variant_that_fails_now(
    own_demo: Demo,
) -> None:
    config = load_config(own_demo.config)
    good = dataclasses.replace(KAPPA, name="one")
    bad = dataclasses.replace(NO_LAYER, name="one")
    assert compare(run_variants(config, (BASE, good)))[1].auc is not None
    (_, failed) = run_variants(config, (BASE, bad))
    assert failed.problem
    assert compare([run_variants(config, (BASE,))[0], failed])[1].auc is None


def test_a_video_that_failed_in_the_base_run_is_not_tried_again_for_every_variant(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    (own_demo.folder / "data/videos/test/bad.mp4").write_bytes(b"this is no video\n" * 100)
    with (own_demo.folder / "data" / "labels.csv").open("a") as labels:
        labels.write("test/bad.mp4,test,0,Normal,,\n")
    assert hiprobe("run", own_demo.config, "--quiet", "--until", "evaluate").code == 3
    base, kappa = run_variants(load_config(own_demo.config), (BASE, KAPPA))
    assert "decode of test/bad" in base.problem
    assert kappa.problem == ""
    rows = compare([base, kappa])
    assert (rows[0].missing, rows[1].missing) == (1, 1)
    log = (kappa.config.results / "events.jsonl").read_text()
    assert "test/bad" not in log
    assert '"item": "dataset"' in log  # what it made stands there


# The table


def rows_of(*changes: dict[str, Any]) -> list[Row]:
    return [
        Row("base" if n == 0 else "variant", f"v{n}", f"text {n}", layer=2, auc=0.75, auc_low=0.6,
            auc_high=0.8, ap=0.5, within_video_auc=0.25, auc_thresholded=0.125, event_f1=1.0,
            false_alarms_per_hour=12.34, videos=9, missing=0, **change)
        if "auc" not in change
        else Row("variant", f"v{n}", f"text {n}", **change)
        for n, change in enumerate(changes)
    ]  # fmt: skip


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [*rows_of({}, {"heads": "3.1 2.0"}, {"auc": None, "problem": "no layer 99"})]
    rows.append(Row("baseline", "constant_oracle", "knows", auc=0.5, ap=0.25))
    path = write_comparison(tmp_path, rows)
    assert path == tmp_path / "variants.parquet"
    assert read_comparison(tmp_path) == rows


def test_the_table_marks_the_base_and_shows_a_dash_where_nothing_applies() -> None:
    rows = [*rows_of({}, {"heads": "3.1 2.0"})]
    rows.append(Row("baseline", "constant_oracle", "knows the label", auc=0.5, ap=0.25))
    lines = comparison_text(rows).splitlines()
    assert lines[1].split() == [
        "*", "v0", "75.00", "50.00", "25.00", "12.50", "100.00", "12.3", "2", "text", "0",
    ]  # fmt: skip
    assert "2 heads" in lines[2]
    assert lines[3].split() == [
        "labels", "only", "50.00", "25.00", "-", "-", "-", "-", "-", "knows", "the", "label",
    ]  # fmt: skip
    assert "over 9 test videos: 60.00 to 80.00" in lines[-1]


def test_rows_that_rest_on_other_videos_are_called_so() -> None:
    same = rows_of({}, {})
    assert "NOT comparable" not in comparison_text(same)
    fewer = dataclasses.replace(same[1], videos=8)
    text = comparison_text([same[0], fewer])
    assert "NOT comparable" in text
    assert "v1: 8 test videos" in text


# What the demonstration does with it


def test_the_demonstration_fails_where_a_variant_does(
    own_demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    (own_demo.folder / "data" / "acts.csv").write_text("video\n")
    settings = own_demo.config.read_text()
    monkeypatch.setattr(demonstration, "_make_inputs", lambda out, seed, echo: None)
    monkeypatch.setattr(demonstration, "demo_config", lambda name: settings)
    monkeypatch.setattr(demonstration, "demo_variants", lambda layers: (BASE, NO_LAYER))
    assert demonstration.demonstrate(own_demo.folder, 0, said.append)
    assert "FAILED no-layer" in "\n".join(said)
    monkeypatch.setattr(demonstration, "demo_variants", lambda layers: (BASE, LAST))
    assert not demonstration.demonstrate(own_demo.folder, 0, said.append)
