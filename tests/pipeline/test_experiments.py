"""Families of experiments: the shipped ones against the paper, and what a file of one may say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from cache.errors import ConfigError
from pipeline.config import load_config
from pipeline.demonstration import demo_config
from pipeline.experiments import METRICS, is_family, load_family
from pipeline.sweep import figure_of, prepare
from stages.probes.evaluation import evaluation_of
from stages.probes.fit_settings import STEER
from stages.probes.scorers import SCORERS
from stages.probes.selection import STRATEGIES
from tests.stages.probes.test_paired import evaluated

FOLDER = Path(__file__).parents[2] / "experiments"
FAMILIES = ("ablation", "backbones", "headhunt", "main", "steervad", "zero_shot")
BASES = ("ucf_crime", "xd_violence")
OF_HEADS = ("headhunt", "steervad")
"""Families over bases of their own."""
HEADHUNT = tuple(f"headhunt_{name}" for name in BASES)
DEMONSTRATIONS = ("demonstration", "probes")

# METHOD.md sections 1 to 4, written a second time: (UCF-Crime AUC, XD-Violence AP) in percent.
PUBLISHED: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "ablation": {
        "dlsp": (86.72, 82.15),
        "thresholded": (86.72, 82.15),
        "last": (83.21, 79.28),
        "fixed-16": (78.60, 75.61),
        "svm": (84.87, 80.63),
        "distance": (80.34, 75.65),
        "mahalanobis": (None, None),
        "threshold-0.25": (76.01, 72.45),
        "threshold-0.5": (85.78, 79.93),
        "threshold-0.75": (70.42, 65.43),
        "keyframes-4": (None, None),
        "keyframes-16": (87.01, None),
        "unit-segment": (None, None),
    },
    "backbones": {
        "internvl2.5-8b": (86.72, 82.15),
        "qwen2.5-vl-7b": (None, None),
        "llava-onevision-7b": (None, None),
        "holmes-vau": (88.91, 89.51),
    },
    "headhunt": {
        "rhi": (87.03, 82.63),
        "thresholded": (None, None),
        "threshold-0.65": (None, None),
        "all-layers": (80.15, 72.10),
        "random": (66.65, 45.33),
        "random-2": (None, None),
        "random-3": (None, None),
        "one-prompt": (81.86, 74.52),
        "no-smoothing": (82.44, 75.88),
        "svm": (84.95, 76.52),
        "mlp": (87.25, 82.81),
        **dict.fromkeys(("lambda-0", "lda", "kl", "mmd", "nmi"), (None, None)),
    },
    "steervad": {
        "steer": (87.15, 83.02),
        "no-gate": (85.94, None),
        "additive": (None, None),
        "static": (None, None),
        "linear": (81.33, None),
        "steer-rhi": (None, None),
    },
    "zero_shot": {"ucf-crime": (86.72, 77.04), "xd-violence": (81.35, 82.15)},
    "main": {
        "hiprobe-internvl2.5-8b": (86.72, 82.15),
        "hiprobe-holmes-vau": (88.91, 89.51),
        "LAVAD": (80.28, 62.01),
        "EventVAD": (82.03, 64.04),
        "VADTree": (84.74, 67.82),
        "PANDA": (84.89, 70.16),
        "CEAVAD": (86.15, 79.52),
        "VERA": (86.55, None),
        "HeadHunt-VAD": (87.03, 82.63),
        "SteerVAD": (87.15, 83.02),
        "Flashback": (87.29, 75.13),
        "VadCLIP": (88.02, 84.51),
        "Holmes-VAU": (88.96, 87.68),
        "Holmes-VAD": (89.51, 90.67),
    },
}

COLUMN = '[columns.ucf]\nbase = "base.toml"\nmetric = "auc"\n'
ROW = '[[row]]\nname = "one"\n'


def family(folder: Path, text: str) -> Path:
    (folder / "base.toml").write_text("[data]\nvideos = 'v'\n")
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        prepare(load_family(family(folder, text)), ())
    return str(caught.value)


# What is shipped


def test_every_file_of_the_folder_is_looked_at() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(
        (*FAMILIES, *BASES, *HEADHUNT, *DEMONSTRATIONS)
    )
    assert [name for name in FAMILIES if is_family(FOLDER / f"{name}.toml")] == [*FAMILIES]
    assert not any(is_family(FOLDER / f"{name}.toml") for name in [*BASES, *HEADHUNT])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_row_of_a_shipped_family_can_be_configured(name: str) -> None:
    """An unknown field, or a value that is not allowed, is an error here."""
    runs = prepare(load_family(FOLDER / f"{name}.toml"), ())
    assert [column.name for column in runs.columns] == ["ucf", "xd"]
    assert [column.metric for column in runs.columns] == ["auc", "ap"]
    before = "headhunt-" if name in OF_HEADS else ""
    assert {config.run.name for config in runs.bases.values()} == {
        f"{before}ucf-crime", f"{before}xd-violence"
    }  # fmt: skip
    assert len({config.store for config in runs.bases.values()}) == 1


def beside_a_demonstration(folder: Path, name: str) -> Path:
    """A copy of a family where it finds the configuration of a demonstration."""
    path = folder / "experiments" / f"{name}.toml"
    path.parent.mkdir()
    path.write_text((FOLDER / path.name).read_text())
    base = folder / "runs" / "demo" / "run.toml"
    base.parent.mkdir(parents=True)
    base.write_text(demo_config("demo"))
    return path


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_families_of_the_demonstration_fit_the_run_that_it_makes(tmp_path: Path, name: str) -> None:
    runs = prepare(load_family(beside_a_demonstration(tmp_path, name)), ())
    assert [column.metric for column in runs.columns] == ["auc", "ap"]
    assert not any(row.published for row in runs.rows)


@pytest.mark.parametrize("name", FAMILIES)
def test_published_figures_are_those_of_the_papers(name: str) -> None:
    found = {
        row.name: (row.published.get("ucf"), row.published.get("xd"))
        for row in load_family(FOLDER / f"{name}.toml").rows
    }
    assert found == PUBLISHED[name]


def test_the_rows_change_what_they_say() -> None:
    rows = {row.name: dict(row.overrides) for row in load_family(FOLDER / "ablation.toml").rows}
    assert rows == {
        "dlsp": {},
        "thresholded": {},
        "last": {"select.method": "last"},
        "fixed-16": {"select.method": "fixed:16"},
        "svm": {"fit.scorer": "svm"},
        "distance": {"fit.scorer": "distance"},
        "mahalanobis": {"fit.scorer": "mahalanobis"},
        "threshold-0.25": {"localize.threshold": "fixed:0.25"},
        "threshold-0.5": {"localize.threshold": "fixed:0.5"},
        "threshold-0.75": {"localize.threshold": "fixed:0.75"},
        "keyframes-4": {"sample.keyframes": 4},
        "keyframes-16": {"sample.keyframes": 16},
        "unit-segment": {"sample.unit": "segment"},
    }
    zero_shot = load_family(FOLDER / "zero_shot.toml").rows
    assert [(row.scorer, dict(row.overrides)) for row in zero_shot] == [("ucf", {}), ("xd", {})]


def test_figures_at_fixed_thresholds_are_those_of_the_thresholded_curve() -> None:
    shipped = load_family(FOLDER / "ablation.toml")
    for row in shipped.rows:
        shown = [shipped.metric(row, column) for column in shipped.columns]
        after = row.name == "thresholded" or row.name.startswith("threshold-")
        assert shown == (["auc_thresholded", "ap_thresholded"] if after else ["auc", "ap"])


def test_every_selection_meets_every_scorer_on_the_demonstration(tmp_path: Path) -> None:
    rows = load_family(beside_a_demonstration(tmp_path, "probes")).rows
    found = {
        (r.overrides["select.method"], r.overrides.get("fit.scorer", "logistic")) for r in rows
    }
    plain = {kind for kind in SCORERS if kind != STEER}
    layers = {*STRATEGIES, "fixed:4"}
    expected = {(m, kind) for m in (*layers, "rhi", "separability") for kind in plain}
    assert found == expected | {("rhi", STEER), ("separability", STEER), ("random", "logistic")}
    assert len(rows) == len(found)


def test_the_rows_of_heads_change_what_they_say() -> None:
    rows = {row.name: dict(row.overrides) for row in load_family(FOLDER / "headhunt.toml").rows}
    first = load_config(FOLDER / f"{HEADHUNT[0]}.toml").sections["forward"].prompts[0]
    assert rows == {
        "rhi": {},
        "thresholded": {},
        "threshold-0.65": {"localize.threshold": "fixed:0.65"},
        "all-layers": {},
        "random": {"select.method": "random"},
        "random-2": {"select.method": "random", "select.seed": 2},
        "random-3": {"select.method": "random", "select.seed": 3},
        "one-prompt": {"forward.prompts": [first]},
        "no-smoothing": {"localize.sigma": 0.0},
        "svm": {"fit.scorer": "svm"},
        "mlp": {"fit.scorer": "mlp"},
        "lambda-0": {"select.heads_lambda": 0.0},
        **{name: {"select.method": f"head-{name}"} for name in ("lda", "kl", "mmd", "nmi")},
    }
    four = {"select.method": "separability", "select.heads_top": 4}
    steered = {**four, "select.context": "last", "fit.scorer": "steer"}
    rows = {row.name: dict(row.overrides) for row in load_family(FOLDER / "steervad.toml").rows}
    assert rows == {
        "steer": steered,
        **{name: {**steered, "fit.steer": name} for name in ("no-gate", "additive", "static")},
        "linear": four,
        "steer-rhi": {**steered, "select.method": "rhi"},
    }


@pytest.mark.parametrize(("name", "plain"), [*zip(HEADHUNT, BASES, strict=True)])
def test_the_bases_of_heads_have_the_settings_of_their_paper(name: str, plain: str) -> None:
    config, other = (load_config(FOLDER / f"{each}.toml") for each in (name, plain))
    sample, select = config.sections["sample"], config.sections["select"]
    assert (sample.segment_frames, sample.keyframes) == (48, 16)
    assert (select.method, select.heads_top, select.heads_lambda) == ("rhi", 5, 0.5)
    localize = config.sections["localize"]
    assert (localize.sigma, localize.sigma_unit, localize.threshold) == (1.5, "segments", "f1")
    forward = config.sections["forward"]
    assert len(set(forward.prompts)) == 5
    assert [prompt.split()[0] for prompt in forward.prompts] == [
        "Identify", "Analyze", "Describe", "Does", "If"
    ]  # fmt: skip
    assert (forward.heads, forward.layers) == ("all", "all")
    assert config.sections["fit"].scorer == "logistic"
    assert config.sections["backbone"].model == "OpenGVLab/InternVL3-8B-hf"
    # The rest is as in the base of HiProbe-VAD: one store, one place for the videos.
    for section in ("data", "decode", "evaluate", "fit"):
        assert config.sections[section] == other.sections[section], section
    assert config.store == other.store
    assert config.run.name == f"headhunt-{other.run.name}"


@pytest.mark.parametrize("name", BASES)
def test_the_bases_have_the_settings_of_the_paper(name: str) -> None:
    config = load_config(FOLDER / f"{name}.toml")
    sample, data = config.sections["sample"], config.sections["data"]
    assert (sample.segment_frames, sample.keyframes, sample.unit) == (24, 8, "video")
    assert (data.probing_share, data.probing_labels) == (0.01, "video")
    assert config.sections["select"].method == "dlsp"
    fit = config.sections["fit"]
    assert (fit.scorer, fit.max_iter, fit.c) == ("logistic", 1000, 1.0)
    localize = config.sections["localize"]
    assert (localize.sigma, localize.sigma_unit, localize.kappa) == (0.4, "segments", 0.2)
    assert localize.threshold == "kappa"
    assert config.sections["backbone"].model == "OpenGVLab/InternVL2_5-8B"
    assert config.sections["forward"].layers == "all"
    assert config.sections["evaluate"].labels == "exact"
    assert config.run.videos == "needed"


@pytest.mark.parametrize("name", [*BASES, *HEADHUNT])
def test_no_base_names_a_place_on_one_machine(name: str) -> None:
    given = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    places = [given["run"]["store"], given["run"]["runs"]]
    places += [
        v for n in ("videos", "annotations", "train_list", "test_list") if (v := given["data"][n])
    ]
    assert all(place.startswith("../") for place in places)


# What a file may say


def test_a_family_is_read(tmp_path: Path) -> None:
    text = (
        f'title = "T"\nnote = "N"\n{COLUMN}title = "UCF"\n{ROW}text = "as it is"\n'
        'published = { ucf = 86 }\n[[row]]\nname = "two"\nset = { "fit.c" = 2 }\nmetric = "ap"\n'
    )
    found = load_family(family(tmp_path, text))
    assert (found.name, found.title, found.note) == ("mine", "T", "N")
    (column,), (one, two) = found.columns, found.rows
    assert (column.name, column.title, column.base) == ("ucf", "UCF", tmp_path / "base.toml")
    assert (one.text, dict(one.published), dict(one.overrides)) == ("as it is", {"ucf": 86.0}, {})
    assert dict(two.overrides) == {"fit.c": 2}
    assert [found.metric(row, column) for row in (one, two)] == ["auc", "ap"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COLUMN, "no [[row]] is given"),
        (ROW, "no [columns.NAME] is given"),
        (f"titel = 'x'\n{COLUMN}{ROW}", "titel: unknown; did you mean title?"),
        (f"{COLUMN}metrics = 'x'\n{ROW}", "columns.ucf.metrics: unknown; did you mean metric?"),
        (COLUMN.replace('"auc"', '"acu"') + ROW, "columns.ucf.metric = 'acu': no such figure; did you mean auc?"),
        (COLUMN.replace("base.toml", "bsae.toml") + ROW, "is not a file"),
        (f"{COLUMN}{ROW}sets = {{}}", "row one: sets: unknown; did you mean set?"),
        (f"{COLUMN}{ROW}{ROW}", "two rows have the name 'one'"),
        (f"{COLUMN}[[row]]\ntext = 'x'", "row 1: name = None: expected text in quotes"),
        (f"{COLUMN}[[row]]\nname = 'a/b'", "must be a plain folder name"),
        (f"{COLUMN}{ROW}scorer = 'ufc'", "row one: scorer ufc: unknown; did you mean ucf?"),
        (f"{COLUMN}{ROW}metric = {{ xd = 'ap' }}", "row one: metric xd: unknown; known are ucf"),
        (f"{COLUMN}{ROW}metric = 'f1'", "row one: metric of ucf = 'f1': no such figure"),
        (f"{COLUMN}{ROW}published = {{ ucf = 0.8672 }}", "published ucf = 0.8672: expected percent"),
        (f"{COLUMN}{ROW}published = {{ ucf = '86' }}", "published ucf = '86': expected percent"),
        (f"{COLUMN}{ROW}published = {{ xd = 86 }}", "published xd: unknown; known are ucf"),
        (f"{COLUMN}{ROW}only_published = true", "only_published: give `published`"),
        (f"{COLUMN}{ROW}only_published = 1", "only_published = 1: expected true or false"),
        (f"{COLUMN}{ROW}set = {{ 'fit.scorre' = 'svm' }}", "unknown field fit.scorre; did you mean scorer?"),
        (f"{COLUMN}{ROW}set = {{ 'fit.scorer' = 'svn' }}", "must be one of"),
        (f"{COLUMN}{ROW}set = {{ 'run.store' = 's' }}", "run.store cannot be another"),
        ("nonsense", "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_two_bases_with_one_place_for_results_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[run]\nname = 'base'\n[data]\nvideos = 'v'\n")
    text = f'{COLUMN}[columns.xd]\nbase = "other.toml"\nmetric = "ap"\n{ROW}'
    assert "have their results in one place" in refused(tmp_path, text)


def test_every_figure_that_a_column_may_show_is_one_that_evaluate_makes() -> None:
    videos = [evaluated(number, np.linspace(0, 1, 5)) for number in range(4)]
    metrics = evaluation_of(videos, bootstrap=0, seed=0, tiou=(0.5,)).metrics
    for name in METRICS:
        assert figure_of(metrics, name) is not None or name in metrics["undefined"], name
