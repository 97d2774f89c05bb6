"""Stage select (a data set): the layer that the scorer is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, recipe
from manifests.schema import LAYERS, SELECTION
from stages.contract import Job, Result
from stages.probes.selection import METRICS, SUMMED, allowed_methods, strategy_of, z_scores

VERSION = 2


def _known(value: Any) -> str | None:
    try:
        strategy_of(value)
    except ConfigError:
        return f"must be one of {allowed_methods()}"
    return None


@dataclass(frozen=True)
class Settings:
    """How the layer is chosen."""

    method: str = recipe(
        "dlsp",
        "dlsp (KL + LDR + entropy), last, fixed:N, kl, ldr, entropy or silhouette",
        check=_known,
    )
    prompt: int = recipe(0, "which of forward.prompts is probed, counted from 0", check=at_least(0))


def compute(job: Job[Settings]) -> Result:
    """Write choice.json {layer}, and beside it layers.parquet and selection.json.

    Reads "table" (the statistics). choice.json alone is the content of the artifact, so that a
    method that chooses the same layer leaves what follows as it is; layers.parquet (every figure of
    every kept layer) and selection.json {method, prompt, layer, layers} say how it came about.
    Raises ConfigError for an unknown method, a layer that is not kept, or a method that has no
    finite figure to rank by.
    """
    from manifests.table import read_table, write_table

    settings = job.settings
    strategy = strategy_of(settings.method)
    table = read_table(job.inputs["table"].file("layers.parquet"), LAYERS)
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in LAYERS.names}
    layers = columns["layer"]
    if not layers or any(one >= two for one, two in pairwise(layers)):
        raise ConfigError(
            f"the statistics have layers {layers}, expected increasing numbers; run them again"
        )
    choice = strategy.choose(layers, {name: columns[name] for name in METRICS})
    columns |= {f"z_{name}": z_scores(layers, columns[name]) for name in SUMMED}
    columns["score"] = choice.score
    columns["chosen"] = [layer == choice.layer for layer in layers]
    write_table(job.out / "layers.parquet", SELECTION, columns)
    record = {"method": settings.method, "prompt": settings.prompt, "layer": choice.layer}
    write_json(job.out / "selection.json", {**record, "layers": layers})
    write_json(job.out / "choice.json", {"layer": choice.layer})
    return Result(len(layers), auxiliary=frozenset({"layers.parquet", "selection.json"}))
