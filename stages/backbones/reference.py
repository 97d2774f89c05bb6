"""Which backbone is meant: everything needed to load it, with no model library imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackboneReference:
    """A backbone by folder or hub id, and how to run it."""

    model: str
    """Absolute folder, or id on the hub."""
    revision: str
    """Commit, tag or branch on the hub; empty for a folder."""
    dtype: str
    """float32, bfloat16 or float16; "auto" takes the checkpoint's."""
    attention: str
    """sdpa or eager."""
    device: str
    """cpu, cuda, cuda:0, ...; "auto" takes a GPU where there is one. A knob."""
    identity: str
    """Digest of weights, configuration, tokenizer, dtype and attention: what enters the keys."""
