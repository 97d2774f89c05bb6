"""Hooks keep last positions, stop when they have enough, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cache.errors import ConfigError
from stages.backbones.capture import NARROW, Decoder, PrefixOnly, Taps
from stages.backbones.contract import Wanted

WIDTH, LAYERS, TOKENS = 4, 3, 50


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.o_proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        mixed = hidden.cumsum(dim=1)
        projected: torch.Tensor = self.o_proj(mixed)
        return projected


class Layer(torch.nn.Module):
    """A decoder layer; `gives` wraps what it returns, as older releases return tuples."""

    def __init__(self, gives: Any) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.mlp = torch.nn.Linear(WIDTH, WIDTH)
        self.gives = gives

    def forward(self, hidden: torch.Tensor) -> Any:
        hidden = hidden + self.self_attn(hidden)
        return self.gives(hidden + self.mlp(hidden))


class Small(torch.nn.Module):
    """A decoder that counts what it computes."""

    def __init__(self, gives: Any = lambda hidden: hidden) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = torch.nn.Embedding(9, WIDTH)
        self.layers = torch.nn.ModuleList([Layer(gives) for _ in range(LAYERS)])
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.rows: list[tuple[int, str, int]] = []
        for number, layer in enumerate(self.layers):
            for name, module in (("o_proj", layer.self_attn.o_proj), ("mlp", layer.mlp)):
                module.register_forward_hook(
                    lambda module, inputs, output, at=(number, name): self.rows.append(
                        (*at, inputs[0].shape[1])
                    )
                )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.embed_tokens(ids)
        for layer in self.layers:
            found = layer(hidden)
            hidden = found[0] if isinstance(found, tuple) else found
        normed: torch.Tensor = self.norm(hidden)
        return normed


IDS = torch.arange(2 * TOKENS).reshape(2, TOKENS) % 9


def plain(decoder: Small, position: int) -> tuple[torch.Tensor, torch.Tensor]:
    """States [segments, layers + 1, width] and heads [segments, layers, width] at one position."""
    with torch.inference_mode():
        hidden = decoder.embed_tokens(IDS)
        states, heads = [hidden], []
        for layer in decoder.layers:
            heads.append(hidden.cumsum(dim=1))
            hidden = hidden + layer.self_attn(hidden)
            hidden = hidden + layer.mlp(hidden)
            states.append(hidden)
        decoder.rows.clear()
    at = [torch.stack([each[:, position] for each in many], 1) for many in (states, heads)]
    return at[0], at[1]


def tapped(decoder: Small, wanted: Wanted, ends: torch.Tensor | None = None) -> Any:
    with torch.inference_mode(), Taps(Decoder(decoder), wanted, ends) as taps:
        taps.run(lambda: decoder(IDS))
        return taps.captured(head_dim=2)


@pytest.mark.parametrize("gives", [lambda hidden: hidden, lambda hidden: (hidden, None)])
@pytest.mark.parametrize("layers", [(0,), (1,), (0, 2), (3,), (0, 1, 2, 3)])
def test_states_are_the_last_positions_before_the_final_norm(
    gives: Any, layers: tuple[int, ...]
) -> None:
    decoder = Small(gives)
    expected, _ = plain(decoder, -1)
    found = tapped(decoder, Wanted(layers))
    assert found.states.shape == (2, 1, len(layers), WIDTH)
    torch.testing.assert_close(found.states[:, 0], expected[:, list(layers)])
    assert found.heads is None


def test_several_ends_are_kept_in_order() -> None:
    decoder = Small()
    ends = torch.tensor([7, 20, TOKENS - 1])
    found = tapped(decoder, Wanted((1, 3), whole_heads=True), ends)
    for number, end in enumerate(ends.tolist()):
        states, heads = plain(decoder, end)
        torch.testing.assert_close(found.states[:, number], states[:, [1, 3]])
        torch.testing.assert_close(found.heads[:, number], heads)


def test_single_heads_are_slices_of_what_enters_o_proj() -> None:
    decoder = Small()
    _, heads = plain(decoder, -1)
    found = tapped(decoder, Wanted((), ((0, 1), (2, 0)))).heads
    torch.testing.assert_close(found[:, 0, 0], heads[:, 0, 2:])
    torch.testing.assert_close(found[:, 0, 1], heads[:, 2, :2])


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_nothing_is_computed_beyond_what_is_wanted(depth: int) -> None:
    decoder = Small()
    normed: list[int] = []
    decoder.norm.register_forward_hook(lambda *args: normed.append(1))
    tapped(decoder, Wanted((depth,)))
    whole = [(layer, name, TOKENS) for layer in range(depth - 1) for name in ("o_proj", "mlp")]
    last = [(depth - 1, name, NARROW) for name in ("o_proj", "mlp")] if depth else []
    assert decoder.rows == whole + last
    assert not normed


def test_a_head_needs_no_output_of_its_layer() -> None:
    decoder = Small()
    tapped(decoder, Wanted((1,), ((1, 0),)))
    assert decoder.rows == [(0, "o_proj", TOKENS), (0, "mlp", TOKENS)]


def test_a_prefix_ends_before_the_last_o_proj() -> None:
    decoder = Small()
    with torch.inference_mode(), PrefixOnly(Decoder(decoder), 2) as only:
        only.run(lambda: decoder(IDS))
    assert decoder.rows == [(0, "o_proj", TOKENS), (0, "mlp", TOKENS)]


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    decoder: Any = Small()
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in decoder.modules()]
    tapped(decoder, Wanted((0, 3), whole_heads=True))
    taps = Taps(Decoder(decoder), Wanted((2,)))
    with pytest.raises(IndexError), taps:
        taps.run(lambda: decoder(torch.tensor([[99]])))
    after = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in decoder.modules()]
    assert after == before


def test_only_the_last_position_is_held() -> None:
    with Taps(Decoder(decoder := Small()), Wanted((0, 1, 2, 3))) as taps, torch.inference_mode():
        taps.run(lambda: decoder(torch.zeros(2, 500, dtype=torch.long)))
    for kept in taps._states.values():
        assert kept.untyped_storage().nbytes() == 2 * WIDTH * 4


def test_a_pass_that_did_not_reach_every_layer_is_an_error() -> None:
    decoder = Small()
    with Taps(Decoder(decoder), Wanted((3,))) as taps, pytest.raises(RuntimeError, match="reach"):
        taps.run(lambda: decoder.embed_tokens(IDS))


@pytest.mark.parametrize("spoil", ["layers", "embed_tokens", "o_proj", "mlp"])
def test_an_unknown_decoder_is_refused(spoil: str) -> None:
    decoder: Any = Small()
    owner = {"o_proj": lambda: decoder.layers[1].self_attn, "mlp": lambda: decoder.layers[2]}
    delattr(owner.get(spoil, lambda: decoder)(), spoil)
    with pytest.raises(ConfigError, match="Small has no list of layers"):
        Decoder(decoder)
