"""Stage select (a data set): the layer, or the attention heads, that the scorer is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, recipe
from manifests.schema import HEAD_SELECTION, HEADS, LAYERS, SELECTION
from stages.contract import Job, Result
from stages.probes.choice import Choice
from stages.probes.heads import ranking
from stages.probes.selection import (
    METRICS,
    SUMMED,
    allowed_methods,
    chooses,
    strategy_of,
    z_scores,
)

VERSION = 3


def _known(value: Any) -> str | None:
    try:
        chooses(value)
    except ConfigError:
        return f"must be one of {allowed_methods()}"
    return None


@dataclass(frozen=True)
class Settings:
    """How the layer, or the heads, are chosen."""

    method: str = recipe(
        "dlsp",
        "a layer by dlsp (KL + LDR + entropy), last, fixed:N, kl, ldr, entropy or silhouette; "
        "heads by rhi (over all prompts) or separability (needs forward.heads)",
        check=_known,
    )
    prompt: int = recipe(0, "which of forward.prompts is probed, counted from 0", check=at_least(0))
    heads_top: int = recipe(5, "heads that rhi and separability choose", check=at_least(1))
    heads_lambda: float = recipe(
        0.5, "what a head's deviation over the prompts counts in rhi", check=at_least(0)
    )


def compute(job: Job[Settings]) -> Result:
    """Write choice.json {layer} or {heads}, and beside it a table and selection.json.

    Reads "table" (the statistics of the layers, or the figures of the heads, as the method asks),
    and the value "labels", which says of every video that the table rests on of which split it is.
    choice.json alone is the content of the artifact, so that a method that chooses the same leaves
    what follows as it is. layers.parquet or heads.parquet (every figure of everything that is kept)
    and selection.json {method, prompt, layer or heads, layers, and videos, n_normal and n_anomalous
    that it rests on} say how it came about. Raises LeakageError for a table that rests on anything
    but training rows, ConfigError for an unknown method, a layer that is not kept, or a method that has no finite
    figure to rank by.
    """
    if chooses(job.settings.method) == "heads":
        return _choose_heads(job)
    return _choose_layer(job)


def _choose_layer(job: Job[Settings]) -> Result:
    from manifests.table import read_table, write_table
    from stages.probes.training import read_training_rows

    settings = job.settings
    strategy = strategy_of(settings.method)
    table = read_table(job.inputs["table"].file("layers.parquet"), LAYERS)
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in LAYERS.names}
    layers = columns["layer"]
    if not layers or any(one >= two for one, two in pairwise(layers)):
        raise ConfigError(
            f"the statistics have layers {layers}, expected increasing numbers; run them again"
        )
    rows = read_training_rows(job.inputs["table"], job.values["labels"], columns)
    ranked = strategy.choose(layers, {name: columns[name] for name in METRICS})
    columns |= {f"z_{name}": z_scores(layers, columns[name]) for name in SUMMED}
    columns["score"] = ranked.score
    columns["chosen"] = [layer == ranked.layer for layer in layers]
    write_table(job.out / "layers.parquet", SELECTION, columns)
    _write(job, Choice(layer=ranked.layer), {"layers": layers, **rows.record()})
    return Result(len(layers), auxiliary=frozenset({"layers.parquet", "selection.json"}))


def _choose_heads(job: Job[Settings]) -> Result:
    from manifests.table import read_table, write_table
    from stages.probes.training import read_training_rows

    settings = job.settings
    table = read_table(job.inputs["table"].file("heads.parquet"), HEADS)
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in HEADS.names}
    rows = read_training_rows(job.inputs["table"], job.values["labels"], columns)
    figures = ranking.figures_of(columns)
    stable = ranking.stability(figures, settings.heads_lambda)
    score = ranking.METHODS[settings.method](figures, stable, settings.prompt)
    heads = ranking.highest(figures.heads, score, settings.heads_top, settings.method)
    columns |= ranking.columns_of(stable)
    columns["score"] = [value for value in score for _ in figures.prompts]
    columns["chosen"] = [pair in heads for pair in figures.heads for _ in figures.prompts]
    write_table(job.out / "heads.parquet", HEAD_SELECTION, columns)
    top = {"top": settings.heads_top, "kept": len(figures.heads), "prompts": len(figures.prompts)}
    more = {**top, "lambda": settings.heads_lambda, **rows.record()}
    _write(job, Choice(heads=heads), more)
    return Result(len(figures.heads), auxiliary=frozenset({"heads.parquet", "selection.json"}))


def _write(job: Job[Settings], choice: Choice, more: dict[str, Any]) -> None:
    """Write choice.json, and selection.json with how the choice came about."""
    record = {"method": job.settings.method, "prompt": job.settings.prompt, **choice.record()}
    write_json(job.out / "selection.json", {**record, **more})
    write_json(job.out / "choice.json", choice.record())
