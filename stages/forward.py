"""Forward: one prefill per segment, and its hidden state at the last prompt position per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.backbones.pass_settings import VERSION as VERSION
from stages.backbones.pass_settings import Settings as Settings
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.backbones.contract import Backbone, Prompt, Wanted


def compute(job: Job[Settings]) -> Result:
    """Write states.zarr, states.json and what else is asked for, of one video.

    Reads "plan". states.zarr holds [segments, prompts * layers, dim]: layer 0 is the embedding
    output, l >= 1 the output of decoder layer l before the final norm (HiProbe-VAD, arXiv
    2507.17394, section 3). heads.zarr holds what enters o_proj (HeadHunt-VAD, arXiv 2512.17601),
    yes_no.parquet how the answer would begin. Raises ItemError where the video cannot be read, or
    a number is not finite or does not fit `store_dtype`.
    """
    from stages.backbones.load import load
    from stages.backbones.passes import run_passes

    backbone = load(job.backbone)
    return run_passes(job, backbone, wanted_of(job.settings, backbone), prompts_of(job.settings))


def prompts_of(settings: Settings) -> tuple[Prompt, ...]:
    """The prompts of a configuration, in order."""
    from stages.backbones.contract import Prompt

    return tuple(
        Prompt(settings.system, question, settings.frame_format) for question in settings.prompts
    )


def wanted_of(settings: Settings, backbone: Backbone) -> Wanted:
    """What a configuration keeps of each pass."""
    from stages.backbones.contract import Wanted

    layers, heads = settings.layers, settings.heads
    return Wanted(
        layers=tuple(range(backbone.layers + 1)) if isinstance(layers, str) else layers,
        heads=() if isinstance(heads, str) else heads,
        whole_heads=heads == "all",
        yes_no=settings.yes_no,
    )
