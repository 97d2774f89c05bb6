"""The configuration: one TOML file, one frozen dataclass per section, every field typed and noted."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.errors import ConfigError
from cache.fields import at_least, knob, notes, recipe_of
from cache.ranges import ranges_of
from stages import (
    crossvalidate,
    decode,
    evaluate,
    explain,
    fit,
    forward,
    heads,
    index,
    localize,
    projection,
    report,
    sample,
)
from stages import select as select_stage
from stages import statistics as statistics_stage
from stages.backbones.settings import BackboneSettings
from stages.probes.choice import LAST
from stages.probes.fit_settings import STEER, STREAMING
from stages.probes.selection import Fixed, chooses, strategy_of


@dataclass(frozen=True)
class RunSettings:
    """Section [run]: where things are and how work is done. Nothing here enters a key."""

    name: str = knob("", "name of the run; its results lie in <runs>/<name>/")
    store: str = knob("hiprobe-store", "folder of the cache; can be shared by many runs and people")
    runs: str = knob("runs", "folder of the results")
    videos: str = knob(
        "all",
        'which videos are processed: "all", or "needed" (the probing subset and what is not train)',
        choices=("all", "needed"),
    )
    scorer: str = knob("", "folder of a fitted scorer of another run (<runs>/<name>/scorer) to use")
    bundle: str = knob(
        "", "folder of a bundle (`hiprobe cache export`) that takes the place of videos and model"
    )
    workers: int = knob(
        0, "worker processes of a local Dask cluster; 0 runs in this process", check=at_least(0)
    )
    scheduler: str = knob("", "address of a running Dask scheduler, such as tcp://host:8786")
    in_flight: int = knob(
        2,
        "videos that are read, run and written at once by one process, for stages that run the model",
        check=at_least(1),
    )
    threads: int = knob(2, "threads that digest the source files", check=at_least(1))
    failure_budget: int = knob(
        20, "stop after this many failures in a row with no success between them", check=at_least(1)
    )


@dataclass(frozen=True)
class CacheSettings:
    """Section [cache]: the stores of others. Nothing here enters a key."""

    shared: tuple[str, ...] = knob(
        (),
        "folders of stores that are read where run.store does not hold an artifact; never written",
    )


SECTIONS: dict[str, type[Any]] = {
    "run": RunSettings,
    "cache": CacheSettings,
    "data": index.Settings,
    "backbone": BackboneSettings,
    "decode": decode.Settings,
    "sample": sample.Settings,
    "forward": forward.Settings,
    "statistics": statistics_stage.Settings,
    "heads": heads.Settings,
    "crossvalidate": crossvalidate.Settings,
    "select": select_stage.Settings,
    "fit": fit.Settings,
    "localize": localize.Settings,
    "explain": explain.Settings,
    "evaluate": evaluate.Settings,
    "projection": projection.Settings,
    "report": report.Settings,
}
"""Every section of the configuration file, in the order in which it is written."""

PATHS = (
    ("run", "store"),
    ("run", "runs"),
    ("run", "scorer"),
    ("run", "bundle"),
    ("cache", "shared"),
    ("data", "videos"),
    ("data", "labels"),
    ("data", "annotations"),
    ("data", "train_list"),
    ("data", "test_list"),
    ("data", "frame_counts"),
)
"""Fields that name a path, or several; a relative one starts at the folder of the configuration file."""


@dataclass(frozen=True)
class Config:
    """A whole configuration: settings by section, and where the file lay."""

    sections: Mapping[str, Any]
    folder: Path
    """Relative paths start here."""
    origin: str = "the configuration"
    """How messages call the file."""
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the file says, before defaults."""

    @property
    def run(self) -> RunSettings:
        """Section [run]."""
        settings = self.sections["run"]
        assert isinstance(settings, RunSettings)
        return settings

    def path(self, section: str, name: str) -> Path | None:
        """A path field, made absolute; None where it is empty."""
        value = getattr(self.sections[section], name)
        return self._absolute(value) if value else None

    def paths(self, section: str, name: str) -> tuple[Path, ...]:
        """The paths of a field that holds several, made absolute."""
        return tuple(self._absolute(value) for value in getattr(self.sections[section], name))

    def _absolute(self, value: str) -> Path:
        return (self.folder / Path(value).expanduser()).resolve()

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.path("run", "store") or self.folder / "hiprobe-store"

    @property
    def shared(self) -> tuple[Path, ...]:
        """The folders of the stores that lie under it and are only read, the nearest first."""
        bundle = self.path("run", "bundle")
        return self.paths("cache", "shared") + (() if bundle is None else (bundle / "artifacts",))

    @property
    def results(self) -> Path:
        """The folder of this run's results."""
        return (self.path("run", "runs") or self.folder / "runs") / self.run.name

    def recipe(self, section: str, without: Collection[str] = ()) -> dict[str, Any]:
        """The recipe fields of a section but for some; an unknown section has none."""
        found = recipe_of(self.sections[section]) if section in self.sections else {}
        return {name: value for name, value in found.items() if name not in without}


def load_config(path: Path, overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """Read and check a configuration file, with `a.b=c` overrides on top.

    Its relative paths start at its own folder unless another is given. Raises ConfigError that names
    the file, the field and, for an unknown name, the nearest known.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist; `hiprobe init folder --videos DIR > run.toml` makes one"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for text in overrides:
        _override(raw, text)
    return make_config(
        raw, folder=folder or path.resolve().parent, origin=str(path), name=path.stem
    )


def changed(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    """The same configuration with other values ("section.field" to what TOML would give), checked.

    `origin` is how messages call it. Raises ConfigError as `load_config` does.
    """
    raw = {section: dict(given) for section, given in config.given.items()}
    for name, value in values.items():
        section, _, field_name = name.partition(".")
        raw.setdefault(section, {})[field_name] = value
    return make_config(raw, folder=config.folder, origin=origin, name=config.run.name)


def make_config(
    raw: Mapping[str, Any], *, folder: Path, origin: str = "the configuration", name: str = "run"
) -> Config:
    """Check plain values against the settings classes and fill in the defaults."""
    problems = [
        f"unknown section [{section}]{nearest(section, SECTIONS)}"
        for section in raw
        if section not in SECTIONS
    ]
    sections = {}
    for section, settings in SECTIONS.items():
        given = raw.get(section, {})
        if not isinstance(given, Mapping):
            problems.append(f"[{section}] must be a section, found {given!r}")
            continue
        sections[section] = _settings(section, settings, given, problems)
    problems = problems or _contradictions(sections)
    if problems:
        raise ConfigError(f"{origin}:\n" + "\n".join(f"  {problem}" for problem in problems))
    run = sections["run"]
    sections["run"] = dataclasses.replace(run, name=run.name or name)
    _check_name(sections["run"].name, origin)
    return Config(sections, folder, origin, {k: dict(v) for k, v in raw.items()})


def _contradictions(sections: Mapping[str, Any]) -> list[str]:
    """What is wrong between sections, each of which is right by itself."""
    forward, select = sections["forward"], sections["select"]
    found = []
    if select.prompt >= len(forward.prompts):
        found.append(
            f"select.prompt = {select.prompt}: forward.prompts holds {len(forward.prompts)}, "
            "counted from 0"
        )
    if sections["sample"].unit == "video" and sections["data"].probing_labels == "frame":
        found.append(
            'sample.unit = "video": a whole video is one sample and has the label of the video; set '
            'data.probing_labels = "video"'
        )
    if not sections["run"].scorer:  # nothing is selected otherwise
        what = _heads_not_kept if chooses(select.method) == "heads" else _layer_not_kept
        found += what(select, forward)
        found += _steering(select, sections["fit"], forward)
    return found


def _steering(select: Any, fit: Any, forward: Any) -> list[str]:
    """What is wrong with the solver of the scorer, or with what steers it and where that comes from."""
    found = []
    if fit.solver == STREAMING and fit.scorer != "logistic":
        found.append(
            f'fit.solver = "{STREAMING}": only fit.scorer = "logistic" is fitted that way, found '
            f"{fit.scorer!r}"
        )
    context = select.context if chooses(select.method) == "heads" else ""
    if fit.scorer == STEER and not context:
        found.append(
            f'fit.scorer = "{STEER}" reads heads and the layer that steers them: set select.method = '
            '"separability", select.heads_top = 4 and select.context = "last", or the number of a '
            "layer"
        )
    elif context and fit.scorer != STEER:
        found.append(
            f'select.context = {context!r}: only fit.scorer = "{STEER}" reads it, found '
            f"{fit.scorer!r}; leave it empty, or heads alone would not be what that scorer reads"
        )
    elif context:
        found += _context_not_kept(context, forward)
    return found


def _context_not_kept(context: str, forward: Any) -> list[str]:
    if context == LAST:
        if forward.heads == "all" and forward.layers == "all":
            return []
        return [
            'select.context = "last" needs forward.heads = "all" and forward.layers = "all", which '
            "say which layer is the last; give its number"
        ]
    if forward.layers == "all" or int(context) in forward.layers:
        return []
    return [f"select.context = {context!r}: forward.layers keeps {ranges_of(forward.layers)} alone"]


def _layer_not_kept(select: Any, forward: Any) -> list[str]:
    strategy = strategy_of(select.method)
    fixed = strategy.number if isinstance(strategy, Fixed) else None
    kept = forward.layers
    if fixed is None or kept == "all" or fixed in kept:
        return []
    return [
        f"select.method = {select.method!r}: forward.layers keeps {ranges_of(kept)}, not {fixed}"
    ]


def _heads_not_kept(select: Any, forward: Any) -> list[str]:
    kept = forward.heads
    if kept == "none":
        return [
            f"select.method = {select.method!r}: no attention heads are kept; set forward.heads to "
            '"all" or to [layer, head] pairs'
        ]
    if kept != "all" and len(kept) < select.heads_top:
        return [
            f"select.heads_top = {select.heads_top}: forward.heads keeps {len(kept)}; keep more, or "
            "choose fewer"
        ]
    return []


def _settings(
    section: str, settings: type[Any], given: Mapping[str, Any], problems: list[str]
) -> Any:
    known = notes(settings)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            problems.append(f"unknown field {section}.{name}{nearest(name, known)}")
            continue
        default = next(f.default for f in dataclasses.fields(settings) if f.name == name)
        try:
            note = known[name]
            values[name] = note.parse(value) if note.parse else convert(value, default)
        except TypeError as error:
            problems.append(f"{section}.{name} = {value!r}: {error}")
            continue
        if note.choices and values[name] not in note.choices:
            allowed = ", ".join(repr(choice) for choice in note.choices)
            problems.append(f"{section}.{name} = {value!r}: must be one of {allowed}")
        elif note.check and (wrong := note.check(values[name])):
            problems.append(f"{section}.{name} = {value!r}: {wrong}")
    try:
        return settings(**values)
    except (ConfigError, ValueError) as error:
        problems.append(f"[{section}]: {error}")
        return settings()


def convert(value: Any, default: Any) -> Any:
    """A TOML value as the type of the field's default. Raises TypeError saying what is expected."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise TypeError("expected true or false")
    if isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise TypeError("expected a whole number")
    if isinstance(default, float):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # No key holds what is not finite, and no setting means anything with it.
            if math.isfinite(value):
                return float(value)
            raise TypeError("expected a finite number")
        raise TypeError("expected a number")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise TypeError("expected text in quotes")
    if isinstance(default, tuple):
        if isinstance(value, list):
            inner = default[0] if default else ""
            return tuple(convert(item, inner) for item in value)
        raise TypeError("expected a list")
    raise TypeError(f"no rule for a field whose default is {default!r}")


def _override(raw: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        raise ConfigError(f"--set {text}: expected section.field=value, such as localize.kappa=0.3")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # plain words need no quotes on a command line
    raw.setdefault(section, {})[key] = parsed


def nearest(name: str, known: Collection[str]) -> str:
    """What to put behind "unknown ...": the nearest known name, or all of them."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(known)}"


def _check_name(name: str, origin: str) -> None:
    if not name or name in {".", ".."} or any(c in name for c in "/\\\0"):
        raise ConfigError(f"{origin}: run.name = {name!r}: must be a plain folder name")
