"""Forward, second pass: of the videos that are not probed, only what the scorer reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cache.digest import read_json
from cache.errors import ConfigError
from stages.backbones.pass_settings import VERSION as VERSION
from stages.backbones.pass_settings import Settings as Settings
from stages.contract import Job, Payload, Result

if TYPE_CHECKING:
    from stages.backbones.contract import Wanted


def compute(job: Job[Settings]) -> Result:
    """Write what stage forward writes, of the chosen layer or heads and of one prompt.

    Reads "plan", "choice" and the value "question", the prompt that is probed. "choice" is that of
    stage select, or the folder of a scorer of another run. The pass ends at the last layer that is
    wanted. Raises what stage forward raises, and ConfigError for a choice that names nothing.
    """
    from stages.backbones.contract import Prompt
    from stages.backbones.load import load
    from stages.backbones.passes import run_passes

    settings = job.settings
    wanted = _wanted(_choice(job.inputs["choice"]))
    prompt = Prompt(settings.system, job.values["question"], settings.frame_format)
    return run_passes(job, load(job.backbone), wanted, (prompt,))


def _choice(payload: Payload) -> Mapping[str, Any]:
    """The choice, which the record of a scorer repeats."""
    name = "choice.json" if payload.holds("choice.json") else "scorer.json"
    found: Mapping[str, Any] = read_json(payload.file(name))
    return found


def _wanted(choice: Mapping[str, Any]) -> Wanted:
    """What is kept: {"heads": [[layer, head], ...]} or {"layer": number}."""
    from stages.backbones.contract import Wanted

    if choice.get("heads"):
        return Wanted(
            layers=(), heads=tuple(sorted((layer, head) for layer, head in choice["heads"]))
        )
    if "layer" in choice:
        return Wanted(layers=(choice["layer"],))
    raise ConfigError(
        f"the choice names {', '.join(sorted(choice)) or 'nothing'}, expected a layer or heads; run "
        "the stage select again"
    )
