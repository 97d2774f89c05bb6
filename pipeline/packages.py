"""Packages that only some stages need: what runs the model and decodes videos can be left out.

`pip install hiprobe` is enough to plan, to look at a store, and to fit and evaluate on hidden states
that are there (from a bundle, say); `pip install "hiprobe[models]"` brings the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from cache.errors import ConfigError
from pipeline.plan import StagePlan, lacking_for, plan_all
from pipeline.world import World

MODELS = ("torch", "transformers", "sentencepiece", "av")
"""What the extra `models` of the distribution brings."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "decode": ("av",),
    "forward": ("torch", "transformers", "av"),
    "forward_selected": ("torch", "transformers", "av"),
    "explain": ("torch", "transformers", "av"),
    "moments": ("torch",),
    "statistics": ("torch",),
}
"""What a stage imports of these; besides, sample reads pixels with av where it stores them."""
INSTALL = 'pip install "hiprobe[models]"'


def is_here(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def require_packages(world: World, asked: frozenset[str]) -> None:
    """Raise ConfigError where a stage that is asked for has work and not the packages for it.

    Only of this machine: where a Dask scheduler is given, its workers do the work.
    """
    if world.config.run.scheduler or all(map(is_here, MODELS)):
        return
    for name, plan in plan_all(world).items():
        if name not in asked or not plan.work or lacking_for(plan.node, world):
            continue  # what is blocked anyway needs nothing
        if lacking := [package for package in needed_by(plan, world) if not is_here(package)]:
            raise ConfigError(missing(f"stage {name}", lacking, f"{plan.work} items of it are"))


def needed_by(plan: StagePlan, world: World) -> tuple[str, ...]:
    """The packages that a stage of a run needs."""
    if plan.node.name == "sample" and plan.node.source(world.config.sections["sample"]):
        return ("av",)
    return NEEDED.get(plan.node.name, ())


def missing(who: str, lacking: list[str], what: str = "") -> str:
    """The message for packages that are not installed."""
    todo = f" ({what} to be made)" if what else ""
    return f"{who} needs {' and '.join(lacking)}, not installed here{todo}: {INSTALL}"
