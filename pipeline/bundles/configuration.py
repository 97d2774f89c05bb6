"""The configuration of a bundle: as it is written into one, and as a run from one takes it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.bundles.contents import CONFIG, SCORER, open_bundle
from pipeline.config import PATHS, Config, changed, load_config
from pipeline.toml import render

KEPT = ("name", "videos")
"""What section [run] of a bundle says: the rest is where and how the run worked."""


def bundled_config(config: Config, identity: str) -> str:
    """run.toml of a bundle: every recipe field, the backbone's identity, and no path."""
    values = {name: dataclasses.asdict(settings) for name, settings in config.sections.items()}
    run = values["run"]
    values["run"] = {name: run[name] for name in KEPT}
    for section, name in PATHS:
        if section != "run":
            values[section].pop(name, None)
    values["backbone"] |= {"identity": identity, "model": model_name(config)}
    return render(values, head="What made this bundle. Paths are those of who runs it.")


def model_name(config: Config) -> str:
    """What a backbone is called: its id on the hub, or the name of its folder."""
    model: str = config.sections["backbone"].model
    given = Path(model).expanduser()
    if given.is_absolute() or model.startswith(".") or (config.folder / given).is_dir():
        return (config.folder / given).resolve().name
    return model


def config_from(folder: Path, own: Path | None, overrides: Sequence[str]) -> Config:
    """The configuration of a run that starts from a bundle.

    `own` is a configuration file of one's own; without it the bundle's is taken, whose relative
    paths start in the current folder: results go to runs/, the store is hiprobe-store. Raises what
    `open_bundle` and `load_config` raise.
    """
    bundle = open_bundle(folder)
    if own is None:
        here = Path.cwd()
        config = load_config(bundle.path / CONFIG, overrides, folder=here)
    else:
        config = load_config(own, overrides)
        here = config.folder
    values: dict[str, Any] = {"run.bundle": _seen_from(folder, here)}
    scorer = bundle.path / SCORER
    if own is None and scorer.is_dir() and not config.run.scorer:
        values["run.scorer"] = _seen_from(scorer, here)
    return changed(config, values, config.origin)


def _seen_from(path: Path, folder: Path) -> str:
    """A path as a configuration in `folder` names it: relative where it was given so."""
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()
