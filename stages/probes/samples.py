"""The rows that a scorer reads: one per segment, of the chosen layer or of the chosen heads."""

from __future__ import annotations

import numpy as np

from cache.errors import ConfigError
from stages.contract import Payload
from stages.probes.choice import Choice
from stages.probes.heads.kept import kept_heads
from stages.probes.states import Rows, probed_states, prompt_of


def probed_rows(item: str, payload: Payload, question: str, choice: Choice) -> Rows:
    """The rows of a video at a question, float32 [segments, dim]; nothing else is read.

    Of a layer its hidden state; of heads their vectors side by side in the order of the choice
    (HeadHunt-VAD, arXiv 2512.17601), where dim is their number times the width of one, and behind
    them the hidden state of the context, if there is one (SteerVAD, arXiv 2602.24021). Raises
    ConfigError for a question that was not asked, or a layer or head that is not kept,
    DamagedArtifact.
    """
    if choice.layer is not None:
        return probed_states(item, payload, question).layer(choice.layer)
    prompt, kept = prompt_of(item, payload, question), kept_heads(item, payload)
    lacking = [list(pair) for pair in choice.heads if pair not in kept.heads]
    if lacking:
        raise ConfigError(
            f"{item}: heads {lacking} are needed and not kept; keep them too with forward.heads"
        )
    parts = [kept.head(*pair, prompt) for pair in choice.heads]
    if choice.context is not None:
        parts.append(probed_states(item, payload, question).layer(choice.context))
    return np.concatenate(parts, axis=1)
