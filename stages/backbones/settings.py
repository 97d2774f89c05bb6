"""The [backbone] section of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from cache.fields import knob, recipe


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """Which multimodal model is probed, and how it is run."""

    model: str = knob("", "folder of a checkpoint, or its id on the hub")
    revision: str = knob("", "commit, tag or branch on the hub; empty for a folder")
    identity: str = knob(
        "", "digest of a backbone that is not on this machine, to use a cache without the model"
    )
    dtype: str = recipe(
        "auto",
        "number format of the model; auto takes the checkpoint's",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    attention: str = recipe("sdpa", "implementation of attention", choices=("sdpa", "eager"))
    device: str = knob("auto", "cpu, cuda, cuda:0, ...; auto takes a GPU where there is one")
