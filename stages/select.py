"""Stage select (a data set): the layer that the scorer is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import recipe
from manifests.schema import LAYERS, SELECTION
from stages.contract import Job, Result
from stages.probes.selection import METRICS, SUMMED, allowed_methods, strategy_of, z_scores

VERSION = 1


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


def compute(job: Job[Settings]) -> Result:
    """Write layers.parquet (every figure of every layer) and choice.json {method, layer, layers}.

    Reads "table" (the statistics). Raises ConfigError for an unknown method, a layer that is not
    there, or a method that has no finite figure to rank by.
    """
    from manifests.table import read_table, write_table

    strategy = strategy_of(job.settings.method)
    table = read_table(job.inputs["table"].file("layers.parquet"), LAYERS)
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in LAYERS.names}
    layers = len(columns["layer"])
    if columns["layer"] != list(range(layers)):
        raise ConfigError(
            f"the statistics have layers {columns['layer']}, expected 0 to {layers - 1} in order; "
            "run the statistics again"
        )
    choice = strategy.choose({name: columns[name] for name in METRICS})
    columns |= {f"z_{name}": z_scores(columns[name]) for name in SUMMED}
    columns["score"] = choice.score
    columns["chosen"] = [layer == choice.layer for layer in range(layers)]
    write_table(job.out / "layers.parquet", SELECTION, columns)
    record = {"method": job.settings.method, "layer": choice.layer, "layers": layers}
    write_json(job.out / "choice.json", record)
    return Result(layers)
