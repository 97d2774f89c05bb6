"""Variants of a run: some fields otherwise, over the same store, each with results of its own.

What a variant shares with the run it is a variant of (features, statistics, often the scorer) is
found in the store by its key: only what its fields change is made. Its results lie in
<runs>/<name>/variants/<variant>/ (of a group of variants, variants/<group>/<variant>/) and are those
of a plain run that ended after `evaluate`: every command works on the config.toml there, and
`hiprobe run` makes the explanations and the report too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.errors import ConfigError, HiprobeError
from pipeline.asked import Options, Summary
from pipeline.config import Config, changed
from pipeline.gather import Choices
from pipeline.progress import Progress
from pipeline.run import run
from pipeline.task import Outcome
from pipeline.world import DATASET

FOLDER = "variants"
LAST = "evaluate"
"""The last stage that is made: figures are compared, not explanations."""
REFUSED = ("run.name", "run.runs", "run.store")
"""Fields that say where a variant lies and what it shares with the others: not its own to set."""

Failed = tuple[str, str, str]
"""Stage, item and key of a failure."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do it otherwise."""

    name: str
    """Names its row and its results folder."""
    text: str
    """One line that says what it is, for the person who reads the table."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Value by "section.field", as TOML would give it. Without any it is the base run itself."""


@dataclass(frozen=True, slots=True)
class VariantRun:
    """What became of a variant."""

    variant: Variant
    config: Config
    """The configuration that it ran with; `config.results` is where its results lie."""
    built: Mapping[str, int] = field(default_factory=dict)
    """Artifacts made, by stage."""
    evaluated: bool = False
    """Whether the figures in its results are those of `config`."""
    problem: str = ""
    """Why it has no figures, or what failed in it and not in a run before; empty otherwise."""
    failures: frozenset[Failed] = frozenset()
    """Everything that failed in it."""


def run_variants(
    base: Config, variants: Sequence[Variant], progress: Progress | None = None, group: str = ""
) -> list[VariantRun]:
    """Bring the figures of every variant up to date, in order; the first is the base run itself.

    Raises ConfigError before any work where a variant cannot be right, and whatever the base run
    raises. What stops another variant is its `problem`, and the next one goes on.
    """
    progress = progress or Progress(quiet=True)
    configs = variant_configs(base, variants, group)
    progress.start("variants", {variant.name: 1.0 for variant in variants})
    done: list[VariantRun] = []
    try:
        for variant, config in zip(variants, configs, strict=True):
            # What stops the base run stops all of them.
            found = try_variant(variant, config, done[:1]) if done else run_variant(variant, config)
            done.append(found)
            if found.problem:
                progress.say(f"variant {variant.name}: {found.problem}")
            progress.update(Outcome(variant.name, "failed" if found.problem else "built"))
    finally:
        progress.finish()
    return done


def run_variant(variant: Variant, config: Config, before: Sequence[VariantRun] = ()) -> VariantRun:
    """Bring the figures of one variant up to date; `config` is what `variant_config` gives for it.

    A video that failed in the runs before, which are over the same store, is not tried again where
    its key is the same, nor told again. Raises whatever a run raises.
    """
    choices = Choices(beside=tuple(run.config.results for run in before))
    summary = run(config, Options(until=LAST, choices=choices), Progress(quiet=True))
    failures = frozenset((s, failed.item, failed.key) for s, failed in summary.failures)
    known = frozenset[Failed]().union(*(run.failures for run in before))
    evaluated = bool(summary.plans[LAST].digests)
    problem = _problem(summary, known)
    return VariantRun(variant, config, summary.built, evaluated, problem, failures)


def try_variant(variant: Variant, config: Config, before: Sequence[VariantRun] = ()) -> VariantRun:
    """The same, where what stops the run becomes its `problem`."""
    try:
        return run_variant(variant, config, before)
    except HiprobeError as error:
        return VariantRun(variant, config, problem=" ".join(str(error).split()))


def variant_configs(base: Config, variants: Sequence[Variant], group: str = "") -> list[Config]:
    """The configuration of every variant.

    Raises ConfigError for a name that is there twice, a field that a variant may not set, a value
    that cannot be right, or where not just the first is without overrides.
    """
    plain = [place for place, variant in enumerate(variants) if not variant.overrides]
    if plain != [0]:
        raise ConfigError(
            "variants: the first, and no other, must be without overrides: it is the base run that "
            "the others are compared with"
        )
    names = [variant.name for variant in variants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"variants: two of them have the name {', '.join(twice)}")
    return [variant_config(base, variant, group) for variant in variants]


def variant_config(base: Config, variant: Variant, group: str = "") -> Config:
    """The configuration of a variant; without overrides that of the base run.

    Raises ConfigError for a field that a variant may not set, or a value that cannot be right.
    """
    if not variant.overrides:
        return base
    origin = f"{base.origin}, variant {variant.name}"
    if refused := sorted(set(variant.overrides) & set(REFUSED)):
        raise ConfigError(
            f"{origin}: {', '.join(refused)} cannot be another: all variants share one store, and "
            "each has its results beside those of the base run"
        )
    # Relative, so that results that are moved or copied with the run still find their store.
    folder = base.results / FOLDER / group
    runs = Path(os.path.relpath(folder, base.folder)).as_posix()
    return changed(
        base, {**variant.overrides, "run.name": variant.name, "run.runs": runs}, origin
    )  # fmt: skip


def _problem(summary: Summary, known: Collection[Failed]) -> str:
    """What failed that is not known already, or why there are no figures; empty otherwise."""
    new = [
        (stage, failure)
        for stage, failure in summary.failures
        if (stage, failure.item, failure.key) not in known
    ]
    if new:
        stage, first = new[0]
        more = f" (and {len(new) - 1} more items)" if len(new) > 1 else ""
        return " ".join(f"{stage} of {first.item}: {first.message}{more}".split())
    plan = summary.plans[LAST]
    if plan.digests:
        return ""
    held = plan.blocked.get(DATASET) or f"it waits for {plan.waiting.get(DATASET, 'others')}"
    return f"no figures: {plan.off or held}"
