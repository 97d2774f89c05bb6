"""Hidden states by hooks: only the last position of each layer is kept.

`output_hidden_states` would keep every position of every layer (0.59 GB for one segment of an 8B
model; the hooks keep 0.3 MB), and its last entry is after the final norm, on another scale.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch

from cache.errors import ConfigError


class LastPositions:
    """A context in which one forward pass of a decoder leaves its last positions.

    `decoder` is what `model.get_decoder()` gives. Index 0 is the embedding output, l >= 1 the output
    of decoder layer l, before the final norm.
    """

    def __init__(self, decoder: Any) -> None:
        layers = getattr(decoder, "layers", None)
        embedding = getattr(decoder, "embed_tokens", None)
        if not isinstance(layers, torch.nn.ModuleList) or not isinstance(
            embedding, torch.nn.Module
        ):
            raise ConfigError(
                f"the decoder {type(decoder).__name__} has no list of layers beside its token "
                "embedding: this architecture cannot be probed"
            )
        self._modules: list[torch.nn.Module] = [embedding, *layers]
        self._kept: list[torch.Tensor | None] = [None] * len(self._modules)
        self._hooks: list[Any] = []

    def __enter__(self) -> LastPositions:
        """Set the hooks."""
        for index, module in enumerate(self._modules):
            self._hooks.append(module.register_forward_hook(self._keeper(index)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hooks, also after an error."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def stacked(self) -> torch.Tensor:
        """The states of the last pass, [batch, layers + 1, dim] in the model's dtype."""
        found = [state for state in self._kept if state is not None]
        if len(found) != len(self._modules):
            raise RuntimeError(
                f"{len(self._modules)} states expected from the forward pass, {len(found)} seen"
            )
        return torch.stack([state.to(found[-1].device) for state in found], dim=1)

    def _keeper(self, index: int) -> Any:
        def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            # Older releases of transformers return a tuple from each layer.
            hidden = output[0] if isinstance(output, tuple) else output
            # A copy: a view would keep every position alive until the pass ends.
            self._kept[index] = hidden[:, -1].detach().clone()

        return keep
