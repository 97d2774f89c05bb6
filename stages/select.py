"""Stage select (a data set): the layer, or the attention heads, that the scorer is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, recipe
from manifests.schema import (
    CROSS_VALIDATION,
    CV_REPLICATES,
    HEAD_REPLICATES,
    HEAD_SELECTION,
    HEADS,
    LAYER_REPLICATES,
    LAYERS,
    SELECTION,
)
from stages.contract import Job, Result
from stages.probes.choice import LAST, Choice
from stages.probes.heads import ranking
from stages.probes.selection import (
    METRICS,
    SUMMED,
    allowed_methods,
    chooses,
    strategy_of,
    z_scores,
)

if TYPE_CHECKING:
    from stages.contract import Payload
    from stages.probes.heads.stability import HeadStability
    from stages.probes.selection import Figures, LayerStrategy
    from stages.probes.stability import Stability

VERSION = 4
FOLDS = ("cv", "cv_std", "cv_pooled")
"""What cross-validation says of a layer."""


def _known(value: Any) -> str | None:
    try:
        chooses(value)
    except ConfigError:
        return f"must be one of {allowed_methods()}"
    return None


def _layer(value: Any) -> str:
    """The context as text, of a TOML text or whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f'expected "", "{LAST}" or the number of a layer')
    return str(value)


def _context(value: str) -> str | None:
    if value in ("", LAST) or (value.isascii() and value.isdecimal()):
        return None
    return f'must be "", "{LAST}" or the number of a layer'


@dataclass(frozen=True)
class Settings:
    """How the layer, or the heads, are chosen."""

    method: str = recipe(
        "dlsp",
        "a layer by dlsp (KL + LDR + entropy), last, fixed:N, kl, ldr, entropy, silhouette or cv "
        "(AUC of cross-validated probes); "
        "heads (needs forward.heads) by rhi (over all prompts), separability, head-lda, head-kl, "
        "head-mmd, head-nmi or random",
        check=_known,
    )
    prompt: int = recipe(0, "which of forward.prompts is probed, counted from 0", check=at_least(0))
    heads_top: int = recipe(5, "heads that a method for heads chooses", check=at_least(1))
    heads_lambda: float = recipe(
        0.5, "what a head's deviation over the prompts counts in rhi", check=at_least(0)
    )
    seed: int = recipe(0, "seed of heads that are drawn (random)", check=at_least(0))
    context: str = recipe(
        "",
        'layer whose hidden state steers the heads (fit.scorer = "steer"): last, or its number; '
        "empty is none",
        check=_context,
        parse=_layer,
    )


def compute(job: Job[Settings]) -> Result:
    """Write choice.json {layer} or {heads, context}, and beside it a table and selection.json.

    Reads "table" (the statistics of the layers, or the figures of the heads, as the method asks),
    "folds" (the cross-validation of the layers) where the method is cv, and the value "labels",
    which says of every video that the tables rest on of which split it is. choice.json alone is the
    content of the artifact, so that a method that chooses the same leaves what follows as it is.
    layers.parquet or heads.parquet (every figure of everything that is kept) and selection.json
    {method, prompt, layer or heads, layers, stability, and videos, n_normal and n_anomalous that it
    rests on} say how it came about. Raises LeakageError for a table that rests on anything but
    training rows, ConfigError for an unknown method, a layer that is not kept, or a method that has
    no finite figure to rank by.
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
    columns |= _folds(job, columns)
    ranked = strategy.choose(layers, {name: _numbers(columns[name]) for name in METRICS})
    stable = _stability(job, strategy, layers)
    columns |= {f"z_{name}": z_scores(layers, columns[name]) for name in SUMMED}
    columns["score"] = ranked.score
    columns["wins"] = stable.wins if stable else [None] * len(layers)
    columns["chosen"] = [layer == ranked.layer for layer in layers]
    write_table(job.out / "layers.parquet", SELECTION, columns)
    said = {"stability": stable.record(ranked.layer) if stable else None}
    _write(job, Choice(layer=ranked.layer), {"layers": layers, **said, **rows.record()})
    auxiliary = frozenset({"layers.parquet", "selection.json"})
    return Result(len(layers), auxiliary=auxiliary, notes=_notes(ranked.layer, stable))


def _folds(job: Job[Settings], figures: dict[str, Any]) -> dict[str, Any]:
    """What cross-validation says of every layer, or None for each where none was asked for."""
    from manifests.table import read_table
    from stages.probes.training import read_training_rows

    payload = job.inputs.get("folds")
    if payload is None:
        if job.settings.method == "cv":
            raise ConfigError('select.method = "cv" needs the stage crossvalidate; run it first')
        return {name: [None] * len(figures["layer"]) for name in FOLDS}
    table = read_table(payload.file("layers.parquet"), CROSS_VALIDATION)
    columns = {name: table.column(name).to_pylist() for name in CROSS_VALIDATION.names}
    read_training_rows(payload, job.values["labels"], columns)
    for name in ("layer", "n_normal", "n_anomalous"):
        if columns[name] != figures[name]:
            raise ConfigError(
                f"select: {name} of the cross-validation is {columns[name]}, that of the statistics "
                f"{figures[name]}: they rest on other rows; run both again"
            )
    return {name: columns[name] for name in FOLDS}


def _numbers(values: list[float | None]) -> list[float]:
    """None as NaN, which no strategy ever chooses."""
    return [float("nan") if value is None else value for value in values]


def _stability(job: Job[Settings], strategy: LayerStrategy, layers: list[int]) -> Stability | None:
    """How often each layer is chosen in a bootstrap over videos; None where nothing says so."""
    from stages.probes.stability import stability_of

    role = "folds" if "cv" in strategy.ranks_by else "table"
    return stability_of(strategy, layers, _replicates(job.inputs[role], strategy, layers))


def _replicates(payload: Payload, strategy: LayerStrategy, layers: list[int]) -> list[Figures]:
    from manifests.table import read_table
    from stages.probes.stability import replicates_of

    if not payload.holds("replicates.parquet"):
        return []
    schema = CV_REPLICATES if "cv" in strategy.ranks_by else LAYER_REPLICATES
    columns = read_table(payload.file("replicates.parquet"), schema).to_pydict()
    return replicates_of(columns, layers, strategy.ranks_by)


def _notes(layer: int, stable: Stability | None) -> tuple[str, ...]:
    if stable is None or stable.wins_of(layer) >= 0.5:
        return ()
    return (
        f"layer {layer} is chosen in {100 * stable.wins_of(layer):.0f} % of "
        f"{len(stable.chosen)} replicates that draw the probing videos again: with other probing "
        "videos it could well be another",
    )


def _choose_heads(job: Job[Settings]) -> Result:
    from manifests.table import read_table, write_table
    from stages.probes.training import read_training_rows

    settings = job.settings
    table = read_table(job.inputs["table"].file("heads.parquet"), HEADS)
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in HEADS.names}
    rows = read_training_rows(job.inputs["table"], job.values["labels"], columns)
    figures = ranking.figures_of(columns)
    stable = ranking.stability(figures, settings.heads_lambda)
    asked = ranking.Asked(settings.prompt, settings.seed)
    score = ranking.METHODS[settings.method](figures, stable, asked)
    heads = ranking.highest(figures.heads, score, settings.heads_top, settings.method)
    columns |= ranking.columns_of(stable)
    columns["score"] = [value for value in score for _ in figures.prompts]
    often = _head_stability(job, figures)
    wins = often.wins if often else [None] * len(figures.heads)
    columns["wins"] = [share for share in wins for _ in figures.prompts]
    columns["chosen"] = [pair in heads for pair in figures.heads for _ in figures.prompts]
    write_table(job.out / "heads.parquet", HEAD_SELECTION, columns)
    top = {"top": settings.heads_top, "kept": len(figures.heads), "prompts": len(figures.prompts)}
    if settings.method == "random":
        top["seed"] = settings.seed
    said = {"stability": often.record(heads) if often else None}
    more = {**top, "lambda": settings.heads_lambda, **said, **rows.record()}
    choice = Choice(heads=heads, context=_context_of(settings.context, figures.heads))
    _write(job, choice, more)
    auxiliary = frozenset({"heads.parquet", "selection.json"})
    notes = (often.note(heads),) if often and often.note(heads) else ()
    return Result(len(figures.heads), auxiliary=auxiliary, notes=notes)


def _head_stability(job: Job[Settings], figures: ranking.HeadFigures) -> HeadStability | None:
    """How often each head is chosen in a bootstrap over videos; None where nothing says so."""
    from pyarrow.compute import field

    from manifests.table import read_table
    from stages.probes.heads.stability import REPLICATED, head_stability, replicated_scores

    settings, table = job.settings, job.inputs["table"]
    if settings.method != REPLICATED or not table.holds("replicates.parquet"):
        return None
    every = read_table(table.file("replicates.parquet"), HEAD_REPLICATES)
    columns = every.filter(field("prompt") == settings.prompt).to_pydict()
    scores = replicated_scores(columns, figures.heads, settings.prompt)
    return head_stability(figures.heads, scores, settings.heads_top)


def _context_of(said: str, heads: Sequence[tuple[int, int]]) -> int | None:
    """The layer that is meant; the last one is the output of the last decoder layer that has heads."""
    if said == LAST:
        return max(layer for layer, _ in heads) + 1
    return int(said) if said else None


def _write(job: Job[Settings], choice: Choice, more: dict[str, Any]) -> None:
    """Write choice.json, and selection.json with how the choice came about."""
    record = {"method": job.settings.method, "prompt": job.settings.prompt, **choice.record()}
    write_json(job.out / "selection.json", {**record, **more})
    write_json(job.out / "choice.json", choice.record())
