"""Every field of the configuration, and the stages that it makes stale."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from cache.fields import notes
from cache.store import Store
from pipeline.assemble import tasks_of
from pipeline.config import SECTIONS
from pipeline.graph import NODES
from pipeline.inputs import Inputs
from pipeline.plan import plan_all
from stages.probes.fit_settings import READ_BY, read_by
from tests.pipeline import worlds

EVERYTHING = tuple(NODES)


OFF = ("heads", "crossvalidate", "forward_selected")
"""Stages that the default has no use for."""
LAYERS = ("moments", "statistics", "crossvalidate")
"""Stages that a run which selects heads has no use for."""
CV = ("heads", "forward_selected")
"""Stages that a run which selects a layer by cross-validation has no use for."""


def after(*stages: str, off: tuple[str, ...] = OFF) -> tuple[str, ...]:
    """These stages and everything that reads from them, directly or not."""
    stale = set(stages)
    for node in NODES.values():
        if node.name not in off and any(edge.stage in stale for edge in node.edges):
            stale.add(node.name)
    return tuple(name for name in NODES if name in stale)


NOTHING: tuple[str, ...] = ()
PROBING = ("index", *after("moments"))

# field -> (another value, the stages that it makes stale)
SENSITIVITY: dict[str, tuple[Any, tuple[str, ...]]] = {
    "run.name": ("other", ("report",)),
    "run.store": ("elsewhere", NOTHING),
    "run.runs": ("elsewhere", NOTHING),
    "run.videos": ("needed", ("report",)),
    "run.bundle": ("elsewhere", NOTHING),  # by itself: what the bundle holds is what counts
    "run.scorer": ("runs/other/scorer", NOTHING),  # by itself: its content is what counts
    "run.workers": (7, NOTHING),
    "run.scheduler": ("tcp://host:1", NOTHING),
    "run.in_flight": (3, NOTHING),
    "run.threads": (5, NOTHING),
    "run.failure_budget": (3, NOTHING),
    "cache.shared": (["elsewhere"], NOTHING),
    "data.kind": ("ucf-crime", ("index", "report")),
    "data.videos": ("moved", NOTHING),
    "data.labels": ("moved.csv", NOTHING),
    "data.annotations": ("moved.txt", NOTHING),
    "data.train_list": ("moved.txt", NOTHING),
    "data.test_list": ("moved.txt", NOTHING),
    "data.frame_counts": (["moved.csv"], NOTHING),
    "data.unlisted": ("score", ("index", "report")),
    "data.allow_missing": (True, NOTHING),  # by itself: which videos are absent is what counts
    "data.probing_share": (0.5, ("index", "report")),  # probing_count is given: it decides
    "data.probing_count": (6, PROBING),
    "data.probing_videos": (["train/n1", "train/n2", "train/n3", "train/a1", "train/a2"], PROBING),
    "data.probing_seed": (5, PROBING),
    "data.probing_labels": ("frame", PROBING),
    "backbone.model": ("elsewhere/model", ("report",)),
    "backbone.revision": ("v2", NOTHING),
    "backbone.identity": ("0" * 64, NOTHING),
    "backbone.dtype": ("bfloat16", after("forward")),
    "backbone.attention": ("eager", after("forward")),
    "backbone.device": ("cuda:1", NOTHING),
    "decode.mode": ("packets", after("decode")),
    "decode.damaged_share": (0.5, after("decode")),
    "decode.thumbnails": (3, NOTHING),
    "decode.thumbnail_height": (40, NOTHING),
    "sample.segment_frames": (48, after("sample")),
    "sample.keyframes": (16, after("sample")),
    "sample.rule": ("endpoints", after("sample")),
    "sample.unit": ("video", after("sample")),  # of the probing videos: see test_sample_unit
    "sample.pixels": ("webp", after("sample")),
    "forward.prompts": (["Is it abnormal?"], after("forward")),
    "forward.system": ("Be brief.", after("forward")),
    "forward.frame_format": ("{number}: {image}", after("forward")),
    "forward.layers": ([1, 2], after("forward")),
    "forward.heads": ("all", after("forward")),
    "forward.yes_no": (True, after("forward")),
    # another stage, no other key
    "forward.test_layers": ("selected", after("forward_selected", off=("heads", "crossvalidate"))),
    "forward.store_dtype": ("float32", after("forward")),
    "forward.batch": (1, NOTHING),
    "forward.prepare_threads": (1, NOTHING),
    "statistics.bins": (32, after("statistics")),
    "statistics.eps": (1e-5, after("statistics")),
    "statistics.silhouette_samples": (100, after("statistics")),
    "statistics.seed": (1, after("statistics")),
    "statistics.replicates": (50, after("statistics")),
    "statistics.workers": (1, NOTHING),
    "heads.eps": (1e-3, NOTHING),  # a layer is selected: see HEADS
    "heads.samples": (100, NOTHING),
    "heads.starts": (1, NOTHING),
    "heads.seed": (1, NOTHING),
    "heads.replicates": (20, NOTHING),
    "heads.workers": (1, NOTHING),
    "crossvalidate.folds": (3, NOTHING),  # nothing is cross-validated: see FOLDS
    "crossvalidate.c": (0.1, NOTHING),
    "crossvalidate.max_iter": (10, NOTHING),
    "crossvalidate.seed": (1, NOTHING),
    "crossvalidate.replicates": (0, NOTHING),
    "crossvalidate.workers": (1, NOTHING),
    "select.method": ("last", after("select")),
    "select.prompt": (1, after("moments")),
    "select.heads_top": (2, NOTHING),
    "select.heads_lambda": (0.0, NOTHING),
    "select.seed": (1, NOTHING),
    "select.context": ("last", NOTHING),  # what it changes where heads are steered: see STEERED
    "fit.scorer": ("svm", after("fit")),
    "fit.solver": ("streaming", after("fit")),
    "fit.c": (0.1, after("fit")),
    "fit.standardise": (False, after("fit")),
    "fit.balance": ("none", after("fit")),
    "fit.max_iter": (10, after("fit")),
    "fit.seed": (1, after("fit")),
    "fit.folds": (3, after("fit")),
    "fit.mlp_hidden": (8, NOTHING),  # of other kinds of scorers: see test_a_kind_of_scorer
    "fit.mlp_activation": ("relu", NOTHING),
    "fit.steer": ("static", NOTHING),
    "fit.steer_gate": (8, NOTHING),
    "fit.steer_rank": (2, NOTHING),
    "fit.steer_epochs": (10, NOTHING),
    "fit.steer_rate": (0.1, NOTHING),
    "fit.steer_decay": (0.1, NOTHING),
    "fit.steer_lambda": (0.5, NOTHING),
    "localize.sigma": (1.5, after("threshold")),
    "localize.sigma_unit": ("seconds", after("threshold")),
    "localize.mode": ("nearest", after("threshold")),
    "localize.kappa": (0.3, after("threshold")),
    "localize.threshold": ("fixed:0.5", after("threshold")),
    "localize.f1_step": (0.05, NOTHING),  # the rule is kappa: see RULES
    "localize.merge_s": (1.0, after("localize")),
    "localize.least_s": (1.0, after("localize")),
    "explain.prompt": ("What is this?", after("explain")),
    "explain.system": ("Be brief.", after("explain")),
    "explain.frame_format": ("{number}: {image}", after("explain")),
    "explain.keyframes": (4, after("explain")),
    "explain.max_new_tokens": (8, after("explain")),
    "explain.which": ("both", after("explain")),
    "explain.limit": (1, after("explain")),
    "explain.seed": (1, after("explain")),
    "explain.batch": (1, NOTHING),
    "evaluate.bootstrap": (10, after("evaluate")),
    "evaluate.seed": (1, after("evaluate")),
    "evaluate.tiou": ([0.5], after("evaluate")),
    "evaluate.labels": ("inclusive", after("evaluate")),
    "projection.methods": (["pca"], after("projection")),
    "projection.samples": (100, after("projection")),
    "projection.perplexity": (5.0, after("projection")),
    "projection.iterations": (300, after("projection")),
    "projection.seed": (1, after("projection")),
    "report.note": ("Untrained.", ("report",)),
    "report.videos": (3, ("report",)),
    "report.thumbnails": (2, ("report",)),
}

AFTER_HEADS = after("heads", off=(*LAYERS, "forward_selected"))
AFTER_CHOICE = after("select", off=(*LAYERS, *OFF))
HEADS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "forward.heads": ([[1, 0], [1, 1], [2, 0], [2, 1], [3, 0]], after("forward", off=(*LAYERS, "forward_selected"))),
    "forward.prompts": (["What happens?"], after("forward", off=(*LAYERS, "forward_selected"))),
    "statistics.bins": (32, NOTHING),
    "heads.eps": (1e-3, AFTER_HEADS),
    "heads.samples": (100, AFTER_HEADS),
    "heads.starts": (1, AFTER_HEADS),
    "heads.seed": (1, AFTER_HEADS),
    "heads.replicates": (20, AFTER_HEADS),
    "heads.workers": (1, NOTHING),
    "select.method": ("separability", AFTER_CHOICE),
    "select.prompt": (1, AFTER_CHOICE),
    "select.heads_top": (2, AFTER_CHOICE),
    "select.heads_lambda": (0.0, AFTER_CHOICE),
    "select.seed": (1, NOTHING),
}  # fmt: skip
"""The same where heads are selected."""

AFTER_FOLDS = after("crossvalidate", off=CV)
FOLDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "statistics.bins": (32, after("statistics")),
    "heads.eps": (1e-3, NOTHING),
    "crossvalidate.folds": (3, AFTER_FOLDS),
    "crossvalidate.c": (0.1, AFTER_FOLDS),
    "crossvalidate.max_iter": (10, AFTER_FOLDS),
    "crossvalidate.seed": (1, AFTER_FOLDS),
    "crossvalidate.replicates": (0, AFTER_FOLDS),
    "crossvalidate.workers": (1, NOTHING),
    "data.probing_seed": (5, ("index", *after("moments", "crossvalidate", off=CV))),
    "select.prompt": (1, after("moments", "crossvalidate", off=CV)),
    "select.method": ("dlsp", after("select")),
}
"""The same where probes are cross-validated."""


RULES: dict[tuple[str, str], tuple[Any, tuple[str, ...]]] = {
    ("f1", "localize.f1_step"): (0.05, after("threshold")),
    ("f1", "localize.kappa"): (0.3, NOTHING),
    ("fixed:0.5", "localize.f1_step"): (0.05, NOTHING),
    ("fixed:0.5", "localize.kappa"): (0.3, NOTHING),
    ("fixed:0.5", "localize.sigma"): (1.5, after("threshold")),
}
"""The same where the threshold is set by another rule."""

DRAWN: dict[str, tuple[Any, tuple[str, ...]]] = {
    "select.seed": (1, AFTER_CHOICE),
    "heads.eps": (1e-3, AFTER_HEADS),
    "select.method": ("head-nmi", AFTER_CHOICE),
}
"""The same where heads are drawn at random; of every other method the seed changes nothing."""


STEERED: dict[str, Any] = {
    "forward": {"heads": "all"},
    "select": {"method": "separability", "context": 1},
    "fit": {"scorer": "steer"},
}
"""Heads that are steered by a layer."""


def test_every_field_is_in_the_table() -> None:
    fields = {f"{s}.{name}" for s, settings in SECTIONS.items() for name in notes(settings)}
    assert fields == set(SENSITIVITY)


@pytest.mark.parametrize("field", SENSITIVITY)
def test_a_field_makes_stale_what_depends_on_it_and_nothing_else(field: str) -> None:
    section, name = field.split(".")
    value, expected = SENSITIVITY[field]
    settled, _ = worlds.settle(worlds.world())
    sections = {section: {name: value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == expected


@pytest.mark.parametrize("field", HEADS)
def test_where_heads_are_selected_other_fields_count(field: str) -> None:
    base: dict[str, Any] = {"forward": {"heads": "all"}, "select": {"method": "rhi"}}
    settled, plans = worlds.settle(worlds.world(worlds.config(**base)))
    assert [name for name, plan in plans.items() if plan.off] == [*LAYERS, "forward_selected"]
    section, name = field.split(".")
    value, expected = HEADS[field]
    sections = {**base, section: {**base.get(section, {}), name: value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == expected


@pytest.mark.parametrize("field", DRAWN)
def test_where_heads_are_drawn_their_seed_counts(field: str) -> None:
    base: dict[str, Any] = {"forward": {"heads": "all"}, "select": {"method": "random"}}
    settled, _ = worlds.settle(worlds.world(worlds.config(**base)))
    section, name = field.split(".")
    value, expected = DRAWN[field]
    sections = {**base, section: {**base.get(section, {}), name: value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == expected


@pytest.mark.parametrize(("rule", "field"), RULES)
def test_a_rule_of_the_threshold_makes_other_fields_count(rule: str, field: str) -> None:
    base = {"localize": {"threshold": rule}}
    settled, _ = worlds.settle(worlds.world(worlds.config(**base)))
    section, name = field.split(".")
    value, expected = RULES[rule, field]
    sections = {section: {**base[section], name: value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == expected


@pytest.mark.parametrize("kind", READ_BY)
def test_a_kind_of_scorer_is_fitted_again_for_what_it_reads(kind: str) -> None:
    base = STEERED if kind == "steer" else {"fit": {"scorer": kind}}
    settled, _ = worlds.settle(worlds.world(worlds.config(**base)))
    for name in notes(SECTIONS["fit"]):
        if name == "scorer" or (name == "solver" and kind != "logistic"):
            continue  # a contradiction with the solver of another kind is refused
        value, _ = SENSITIVITY[f"fit.{name}"]
        sections = {**base, "fit": {"scorer": kind, name: value}}
        changed = worlds.world(worlds.config(**sections), committed=settled.committed)
        found = worlds.work(plan_all(changed))
        assert ("fit" in found) == (name in read_by(kind)), name
        assert not {"select", "heads", "forward"} & {*found}


@pytest.mark.parametrize(
    ("value", "stale"), [(2, AFTER_CHOICE), ("1", NOTHING), ("last", AFTER_CHOICE)]
)
def test_what_steers_the_heads_is_part_of_the_choice(value: Any, stale: tuple[str, ...]) -> None:
    settled, _ = worlds.settle(worlds.world(worlds.config(**STEERED)))
    sections = {**STEERED, "select": {**STEERED["select"], "context": value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == stale


@pytest.mark.parametrize("field", FOLDS)
def test_where_probes_are_cross_validated_other_fields_count(field: str) -> None:
    base: dict[str, Any] = {"select": {"method": "cv"}}
    settled, plans = worlds.settle(worlds.world(worlds.config(**base)))
    assert [name for name, plan in plans.items() if plan.off] == [*CV]
    section, name = field.split(".")
    value, expected = FOLDS[field]
    sections = {**base, section: {**base.get(section, {}), name: value}}
    changed = worlds.world(worlds.config(**sections), committed=settled.committed)
    assert tuple(worlds.work(plan_all(changed))) == expected


def test_probes_are_cross_validated_only_for_cv() -> None:
    settled, plans = worlds.settle(worlds.world())
    assert plans["crossvalidate"].off == "select.method is not cv: no probe is cross-validated"
    cv = worlds.world(worlds.config(select={"method": "cv"}), committed=settled.committed)
    assert [*worlds.work(plan_all(cv))] == ["crossvalidate", *after("select")]
    made, _ = worlds.settle(cv)
    assert not worlds.work(plan_all(dataclasses.replace(settled, committed=made.committed)))


def test_heads_of_the_probing_videos_alone_are_compared() -> None:
    sections: dict[str, Any] = {"forward": {"heads": "all"}, "select": {"method": "rhi"}}
    settled, _ = worlds.settle(worlds.world(worlds.config(**sections)))
    plan = plan_all(settled)["heads"]
    (task,) = tasks_of(plan, settled, plan_all(settled), Store(Path("store")), ["dataset"])
    probing = {v.video_id for v in settled.videos or () if v.subset == "probing"}
    assert {role: set(keys) for role, (_, keys) in task.many.items()} == {
        "states": probing, "plan": probing,
    }  # fmt: skip
    assert set(task.values) == {"labels"}
    assert set(task.values["labels"]) == probing


def test_what_is_selected_is_read_from_one_table() -> None:
    for sections, stage in (
        ({}, "statistics"),
        ({"forward": {"heads": "all"}, "select": {"method": "separability"}}, "heads"),
    ):
        settled, plans = worlds.settle(worlds.world(worlds.config(**sections)))
        for reader in ("select", "report"):
            found = Inputs(NODES[reader], settled, plans).single("dataset")["table"]
            assert isinstance(found, tuple)
            assert found[0] == stage


def test_a_recipe_field_changes_a_key_and_a_knob_never_does() -> None:
    for field, (_, stale) in SENSITIVITY.items():
        others = [
            HEADS.get(field),
            FOLDS.get(field),
            DRAWN.get(field),
            *(RULES[key] for key in RULES if key[1] == field),
        ]
        stale = next((found[1] for found in others if found and found[1]), stale)
        section, name = field.split(".")
        if field == "select.context" or (section == "fit" and not stale):
            continue  # each has a test of its own
        kind = notes(SECTIONS[section])[name].kind
        if field == "forward.test_layers":
            assert kind == "knob", field
        elif kind == "knob":
            assert set(stale) <= {"report"}, field
        else:
            assert stale, field


def test_the_version_of_a_stage_makes_it_and_what_follows_stale() -> None:
    settled, _ = worlds.settle(worlds.world())
    for stage in NODES:
        versions = {**settled.versions, stage: 2}
        changed = dataclasses.replace(settled, versions=versions)
        stale = set(worlds.work(plan_all(changed)))
        expected = set(after(stage)) - ({"report"} if stage == "index" else set())
        expected = set() if stage in OFF else expected
        # The version of forward and sample is part of what a scorer's features are.
        assert stale == expected, stage


def test_the_scorer_of_another_run_replaces_the_fitting_stages() -> None:
    from pipeline.world import OutsideScorer

    settled, _ = worlds.settle(worlds.world())
    scorer = OutsideScorer(Path("scorer"), worlds.sha("scorer"), {})
    plans = plan_all(dataclasses.replace(settled, scorer=scorer))
    off = [name for name, plan in plans.items() if plan.off]
    assert off == [
        "moments", "statistics", "heads", "crossvalidate", "select", "fit", "forward_selected",
        "projection",
    ]  # fmt: skip
    assert set(worlds.work(plans)) == {
        "score", "threshold", "localize", "explain", "evaluate", "report"
    }  # fmt: skip


def test_no_key_holds_a_path() -> None:
    settled, plans = worlds.settle(worlds.world())
    for name, plan in plans.items():
        inputs = Inputs(NODES[name], settled, plans)
        for item in plan.keys:
            video = next((v for v in settled.videos or () if v.video_id == item), None)
            assert not re.search(r"nowhere|\.mp4|/v/", inputs.text(item, video) or "")
