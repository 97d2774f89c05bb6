"""What a forward pass leaves, taken by hooks: last positions only, and nothing after the last need.

`output_hidden_states` would keep every position of every layer (0.59 GB for one segment of an 8B
model; the hooks keep 0.3 MB), and its last entry is after the final norm, on another scale. Here
the pass ends, by an exception that stays in this module, as soon as all that is wanted is there:
layers beyond, the final norm and the head are never computed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch

from cache.errors import ConfigError
from stages.backbones.contract import Captured, Wanted

NARROW = 32
"""Positions that the last layer computes. One would do, but a product of a single row takes another
kernel than one of many, and the bits would depend on the size of the batch."""


class _Enough(Exception):
    """All that is wanted of a pass has been seen."""


class Decoder:
    """The parts of a text decoder (`model.get_decoder()`) that hooks are set on."""

    def __init__(self, decoder: Any) -> None:
        layers = getattr(decoder, "layers", None)
        embedding = getattr(decoder, "embed_tokens", None)
        found = list(layers) if isinstance(layers, torch.nn.ModuleList) else []
        outputs = [getattr(getattr(layer, "self_attn", None), "o_proj", None) for layer in found]
        blocks = [getattr(layer, "mlp", None) for layer in found]
        if not found or not all(
            isinstance(part, torch.nn.Module) for part in (embedding, *outputs, *blocks)
        ):
            raise ConfigError(
                f"the decoder {type(decoder).__name__} has no list of layers with self_attn.o_proj "
                "and mlp beside its token embedding: this architecture cannot be probed"
            )
        self.embedding: Any = embedding
        self.layers: list[Any] = found
        self.o_proj: list[Any] = outputs
        self.mlp: list[Any] = blocks


class _Hooks:
    """Hooks on modules for the time of a `with` block."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hooks, also after an error."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _after(self, module: Any, act: Callable[[torch.Tensor], None]) -> None:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            # Older releases of transformers return a tuple from each layer.
            act(output[0] if isinstance(output, tuple) else output)

        self._handles.append(module.register_forward_hook(hook))

    def _before(self, module: Any, act: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
        def hook(module: torch.nn.Module, inputs: tuple[Any, ...]) -> Any:
            changed = act(inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        self._handles.append(module.register_forward_pre_hook(hook))


def _stop(tensor: torch.Tensor) -> None:
    raise _Enough


class Taps(_Hooks):
    """A context in which one pass over a decoder leaves what is wanted of it.

    `ends` are the positions [prompts] that are kept. None keeps the last position alone, and then
    only this one goes through o_proj and the MLP of the last layer that is needed.
    """

    def __init__(self, decoder: Decoder, wanted: Wanted, ends: torch.Tensor | None = None) -> None:
        super().__init__()
        self._decoder, self._wanted = decoder, wanted
        self._ends: Any = slice(-1, None) if ends is None else ends
        self._depth = wanted.depth(len(decoder.layers))
        self._states: dict[int, torch.Tensor] = {}
        self._heads: dict[int, torch.Tensor] = {}

    def __enter__(self) -> Taps:
        """Set the hooks; the one that ends the pass comes last."""
        decoder, wanted, depth = self._decoder, self._wanted, self._depth
        outputs = {*wanted.layers, *([depth] if wanted.yes_no else [])}
        for layer in sorted(outputs):
            module = decoder.layers[layer - 1] if layer else decoder.embedding
            self._after(module, self._keeper(self._states, layer))
        for layer in _head_layers(wanted, len(decoder.layers)):
            self._before(decoder.o_proj[layer], self._keeper(self._heads, layer))
        if depth == 0:
            self._after(decoder.embedding, _stop)
        elif depth in outputs:
            if isinstance(self._ends, slice):
                for module in (decoder.o_proj[depth - 1], decoder.mlp[depth - 1]):
                    self._narrow(module)
            self._after(decoder.layers[depth - 1], _stop)
        else:
            self._before(decoder.o_proj[depth - 1], _stop)
        return self

    def run(self, call: Callable[[], Any]) -> None:
        """Make the pass. Raises RuntimeError where it ended without all that is wanted."""
        try:
            call()
        except _Enough:
            return
        raise RuntimeError("the forward pass did not reach the layers that are wanted of it")

    def layer(self, layer: int) -> torch.Tensor:
        """One hidden state of the last pass, [segments, prompts, dim]."""
        return self._states[layer]

    def captured(self, head_dim: int) -> Captured:
        """What the last pass left."""
        wanted = self._wanted
        layers = [self._states[layer] for layer in wanted.layers]
        states = torch.stack(layers, dim=2) if layers else None
        if wanted.whole_heads:
            heads = torch.stack([self._heads[layer] for layer in sorted(self._heads)], dim=2)
            return Captured(states, heads)
        if wanted.heads:
            parts = [
                self._heads[layer][..., head * head_dim : (head + 1) * head_dim]
                for layer, head in wanted.heads
            ]
            return Captured(states, torch.stack(parts, dim=2))
        return Captured(states)

    def _narrow(self, module: Any) -> None:
        """Let only the last positions through a module, and only the very last out of it.

        What comes out is added to every position of the residual, of which only the last is kept.
        """
        self._before(module, lambda tensor: tensor[:, -NARROW:])
        hook = module.register_forward_hook(lambda module, inputs, output: output[:, -1:])
        self._handles.append(hook)

    def _keeper(self, kept: dict[int, torch.Tensor], layer: int) -> Callable[[torch.Tensor], None]:
        def keep(tensor: torch.Tensor) -> None:
            # A copy: a view would keep every position alive until the pass ends.
            kept[layer] = tensor[:, self._ends].detach().clone()

        return keep


class PrefixOnly(_Hooks):
    """A context in which a pass only fills the cache of the first `depth` layers (>= 1)."""

    def __init__(self, decoder: Decoder, depth: int) -> None:
        super().__init__()
        self._module = decoder.o_proj[depth - 1]

    def __enter__(self) -> PrefixOnly:
        """Set the hook: keys and values of the last layer are there before its o_proj."""
        self._before(self._module, _stop)
        return self

    def run(self, call: Callable[[], Any]) -> None:
        """Make the pass."""
        try:
            call()
        except _Enough:
            return
        raise RuntimeError("the forward pass did not reach the layers that are wanted of it")


def _head_layers(wanted: Wanted, layers: int) -> list[int]:
    if wanted.whole_heads:
        return list(range(layers))
    return sorted({layer for layer, _ in wanted.heads})
