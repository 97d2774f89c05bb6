"""The configuration: typed, checked before anything runs, unknown names refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cache.errors import ConfigError
from pipeline.config import SECTIONS, load_config, make_config
from pipeline.initial import Beside, folder_config
from pipeline.toml import render, to_toml


def load(folder: Path, text: str, *overrides: str):  # type: ignore[no-untyped-def]
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config.run.name == "mine"
    assert config.sections["localize"].kappa == 0.2
    assert config.results == tmp_path / "runs" / "mine"
    assert config.store == tmp_path / "hiprobe-store"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[localise]\nkappa = 1.0", "unknown section [localise]; did you mean localize?"),
        ("[localize]\nkapa = 1.0", "unknown field localize.kapa; did you mean kappa?"),
        ("[localize]\nkappa = '1'", "localize.kappa = '1': expected a number"),
        ("[localize]\nkappa = nan", "localize.kappa = nan: expected a finite number"),
        ("[localize]\nsigma = inf", "localize.sigma = inf: expected a finite number"),
        ("[localize]\nmode = 'wrap'", "must be one of 'reflect', 'nearest', 'mirror'"),
        ("[localize]\nf1_step = 0.6", "must be between 0.0001 and 0.5"),
        ("[localize]\nleast_s = -1", "localize.least_s = -1: must be at least 0"),
        ("[sample]\nkeyframes = 8.5", "sample.keyframes = 8.5: expected a whole number"),
        ("[sample]\nkeyframes = true", "expected a whole number"),
        ("[sample]\nkeyframes = 0", "sample.keyframes = 0"),
        ("[sample]\nrule = 'middle'", "must be one of 'midpoints', 'endpoints'"),
        ("[data]\nprobing_share = 2.0", "must be between 0 and 1"),
        ("[data]\nprobing_videos = [1]", "expected text in quotes"),
        ("[fit]\nstandardise = 1", "expected true or false"),
        ("sample = 3", "[sample] must be a section"),
        ("[sample\n", "is not valid TOML"),
        ("[run]\nname = 'a/b'", "must be a plain folder name"),
        ("[select]\nprompt = -1", "select.prompt = -1: must be at least 0"),
        ("[select]\nprompt = 1", "select.prompt = 1: forward.prompts holds 1, counted from 0"),
        ("[select]\ncontext = 'first'", 'select.context = \'first\': must be "", "last" or the'),
        ("[select]\ncontext = true", 'select.context = True: expected "", "last" or the number'),
        ("[select]\ncontext = -1", "select.context = -1: must be"),
        ("[fit]\nfolds = 1", "fit.folds = 1: must be 0, or at least 2"),
        (
            "[fit]\nscorer = 'steer'",
            "reads heads and the layer that steers them: set select.method",
        ),
        (
            "[fit]\nscorer = 'svm'\nsolver = 'streaming'",
            "only fit.scorer = \"logistic\" is fitted that way, found 'svm'",
        ),
        *(
            (f"[select]\nmethod = 'rhi'\n{select}\n[forward]\n{forward}\n[fit]\n{fit}", said)
            for select, forward, fit, said in (
                ("", "heads = 'all'", "scorer = 'steer'", "set select.method"),
                ("context = 2", "heads = 'all'", "", 'only fit.scorer = "steer" reads it'),
                (
                    "context = 2",
                    "heads = 'all'\nlayers = [1, 3]",
                    "scorer = 'steer'",
                    "select.context = '2': forward.layers keeps 1, 3 alone",
                ),
                (
                    "context = 'last'",
                    "heads = 'all'\nlayers = [1, 3]",
                    "scorer = 'steer'",
                    'select.context = "last" needs forward.heads = "all"',
                ),
                (
                    "context = 'last'\nheads_top = 1",
                    "heads = [[1, 1]]",
                    "scorer = 'steer'",
                    'select.context = "last" needs forward.heads = "all"',
                ),
            )
        ),
        (
            "[select]\nmethod = 'fixed:18'\n[forward]\nlayers = [24, 16]",
            "select.method = 'fixed:18': forward.layers keeps 16, 24, not 18",
        ),
    ],
)
def test_what_cannot_be_right_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[sample]\nkeyframe = 8\nrule = 'x'\n[decoding]\n")
    text = str(caught.value)
    for said in ("sample.keyframe", "sample.rule", "[decoding]"):
        assert said in text


def test_sections_that_agree_are_taken(tmp_path: Path) -> None:
    load(tmp_path, "[select]\nprompt = 1\n[forward]\nprompts = ['One?', 'Two?']")
    load(tmp_path, "[select]\nmethod = 'fixed:16'\n[forward]\nlayers = [16, 24]")
    load(tmp_path, "[select]\nmethod = 'last'\n[forward]\nlayers = [16, 24]")
    scorer = "[run]\nscorer = 'there'\n"  # with one, nothing is selected
    load(tmp_path, f"{scorer}[select]\nmethod = 'fixed:18'\n[forward]\nlayers = [16, 24]")
    load(tmp_path, "[select]\nmethod = 'rhi'\n[forward]\nheads = 'all'")
    pairs = "[forward]\nheads = [[16, 0], [16, 1]]\n"
    load(tmp_path, f"{pairs}[select]\nmethod = 'separability'\nheads_top = 2")
    load(tmp_path, f"{scorer}[select]\nmethod = 'rhi'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[select]\nmethod = 'rhi'", r"no attention heads are kept; set forward\.heads to \"all\""),
        (
            "[select]\nmethod = 'rhi'\n[forward]\nheads = [[16, 0], [16, 1]]",
            r"select\.heads_top = 5: forward\.heads keeps 2; keep more",
        ),
        ("[select]\nheads_top = 0", "must be at least 1"),
        ("[select]\nheads_lambda = -0.5", "must be at least 0"),
    ],
)
def test_heads_that_cannot_be_chosen_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hiprobe init"):
        load_config(tmp_path / "none.toml")


def test_overrides_are_typed_like_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, "", "localize.kappa=1", "forward.system=Is it odd?", "run.workers=3")
    assert config.sections["localize"].kappa == 1.0
    assert config.sections["forward"].system == "Is it odd?"
    assert config.run.workers == 3
    with pytest.raises(ConfigError, match=r"section\.field=value"):
        load(tmp_path, "", "kappa=1")
    with pytest.raises(ConfigError, match="did you mean kappa"):
        load(tmp_path, "", "localize.kapa=1")


def test_what_is_written_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    awkward = 'a "quoted" \\ text\nof two lines, \x7f, é'
    config = make_config(
        {
            "forward": {"prompts": [awkward, "b"]},
            "evaluate": {"tiou": [0.25]},
            "run": {"name": "x"},
        },
        folder=tmp_path,
    )
    path = tmp_path / "again.toml"
    path.write_text(to_toml(config, identity="f" * 64), encoding="utf-8")
    again = load_config(path)
    backbone = dataclasses.replace(config.sections["backbone"], identity="f" * 64)
    assert again.sections == {**config.sections, "backbone": backbone}


def test_init_writes_every_field_with_its_line_of_documentation(tmp_path: Path) -> None:
    text = folder_config("my videos", "labels.csv", [], Beside("model", name="shop"))
    config = load(tmp_path, text)
    assert config.path("data", "videos") == tmp_path / "my videos"
    assert config.run.name == "shop"
    for section, settings in SECTIONS.items():
        for field in dataclasses.fields(settings):
            assert f"\n{field.name} = " in text, (section, field.name)
    for kind in ("# recipe: ", "# knob: "):
        assert kind in text


def test_the_defaults_are_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, render({}, head="nothing set"))
    expected = make_config({"run": {"name": "mine"}}, folder=tmp_path)
    assert config.sections == expected.sections


@pytest.mark.parametrize("context", ["'last'", "3", "'3'"])
def test_heads_that_a_layer_steers(tmp_path: Path, context: str) -> None:
    text = f"[select]\nmethod = 'separability'\ncontext = {context}\n[forward]\nheads = 'all'\n"
    config = load(tmp_path, text + "[fit]\nscorer = 'steer'")
    assert config.sections["select"].context == context.strip("'")
    # A scorer of another run brings what steers it, and nothing is fitted here.
    load(tmp_path, "[fit]\nscorer = 'steer'\n[run]\nscorer = 'runs/x/scorer'")
    # Where a layer is chosen the context is not looked at, as the number of heads is not.
    load(tmp_path, "[select]\ncontext = 3")
