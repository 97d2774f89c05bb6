"""Forward, second pass: of the videos that are not probed, only what the scorer reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cache.digest import read_json
from stages.backbones.pass_settings import VERSION as VERSION
from stages.backbones.pass_settings import Settings as Settings
from stages.contract import Job, Payload, Result

if TYPE_CHECKING:
    from stages.backbones.contract import Wanted
    from stages.probes.choice import Choice


def compute(job: Job[Settings]) -> Result:
    """Write what stage forward writes, of what was chosen and of one prompt.

    Reads "plan", "choice" and the value "question", the prompt that is probed. "choice" is that of
    stage select, or the folder of a scorer of another run. The pass ends at the last layer that is
    wanted. Raises what stage forward raises, and ConfigError for a choice that names nothing.
    """
    from stages.backbones.contract import Prompt
    from stages.backbones.load import load
    from stages.backbones.passes import run_passes
    from stages.probes.choice import choice_of

    settings = job.settings
    wanted = _wanted(choice_of(_record(job.inputs["choice"])))
    prompt = Prompt(settings.system, job.values["question"], settings.frame_format)
    return run_passes(job, load(job.backbone), wanted, (prompt,))


def _record(payload: Payload) -> Mapping[str, Any]:
    """The choice, which the record of a scorer repeats."""
    name = "choice.json" if payload.holds("choice.json") else "scorer.json"
    found: Mapping[str, Any] = read_json(payload.file(name))
    return found


def _wanted(choice: Choice) -> Wanted:
    """What is kept."""
    from stages.backbones.contract import Wanted

    if choice.layer is not None:
        return Wanted(layers=(choice.layer,))
    layers = () if choice.context is None else (choice.context,)
    return Wanted(layers=layers, heads=tuple(sorted(choice.heads)))
