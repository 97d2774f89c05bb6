"""Hooks give exactly the hidden states that the library itself reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones.capture import LastPositions
from stages.backbones.contract import Prompt
from stages.backbones.internvl import InternVL

PROMPT = Prompt("", "What is there?")


def library_inputs(backbone: InternVL, clip: list[NDArray[np.uint8]]) -> dict[str, torch.Tensor]:
    prepared = backbone.prepare(clip, PROMPT)
    return {
        "input_ids": torch.from_numpy(prepared.token_ids)[None],
        "pixel_values": torch.from_numpy(prepared.pixels),
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_hooks_equal_the_librarys_hidden_states(
    checkpoint: Path, clips: list[list[NDArray[np.uint8]]], attention: str
) -> None:
    backbone = InternVL(checkpoint, "float32", attention, "cpu")
    model = backbone._model
    with torch.inference_mode():
        found = model(**library_inputs(backbone, clips[0]), output_hidden_states=True)
        reported = [layer[:, -1] for layer in found.hidden_states]
        ours = backbone.states([backbone.prepare(clips[0], PROMPT)])
        normed = model.get_decoder().norm(ours[:, -1])
    assert len(reported) == ours.shape[1] == backbone.layers + 1
    for layer in range(backbone.layers):
        assert torch.equal(ours[:, layer], reported[layer]), layer
    assert torch.equal(normed, reported[-1])
    assert not torch.allclose(ours[:, -1], reported[-1])


def test_the_first_step_of_generate_has_the_same_states(
    backbone: InternVL, clips: list[list[NDArray[np.uint8]]]
) -> None:
    inputs = library_inputs(backbone, clips[1])
    with torch.inference_mode():
        output = backbone._model.generate(
            **inputs,
            attention_mask=torch.ones_like(inputs["input_ids"]),
            max_new_tokens=1,
            do_sample=False,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    ours = backbone.states([backbone.prepare(clips[1], PROMPT)])
    for layer in range(backbone.layers):
        assert torch.equal(ours[:, layer], output.hidden_states[0][layer][:, -1]), layer


class TupleLayer(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, None]:
        return hidden + 1, None


class TupleDecoder(torch.nn.Module):
    """A decoder as older releases have it: layers give tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(4, 3)
        self.layers = torch.nn.ModuleList([TupleLayer(), TupleLayer()])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.embed_tokens(ids)
        for layer in self.layers:
            hidden = layer(hidden)[0]
        return hidden


def test_layers_that_return_tuples_are_read_too() -> None:
    decoder = TupleDecoder()
    ids = torch.tensor([[0, 1, 2], [2, 1, 3]])
    with torch.inference_mode(), LastPositions(decoder) as positions:
        decoder(ids)
        states = positions.stacked()
    start = decoder.embed_tokens.weight[ids[:, -1]]
    assert torch.equal(states, torch.stack([start, start + 1, start + 1 + 1], dim=1))


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    decoder: Any = TupleDecoder()
    with pytest.raises(IndexError), LastPositions(decoder):
        decoder(torch.tensor([[99]]))
    assert not decoder.embed_tokens._forward_hooks
    assert all(not layer._forward_hooks for layer in decoder.layers)


def test_only_the_last_position_is_kept() -> None:
    decoder = TupleDecoder()
    with torch.inference_mode(), LastPositions(decoder) as positions:
        decoder(torch.zeros(2, 500, dtype=torch.long))
    for kept in positions._kept:
        assert kept is not None
        assert kept.untyped_storage().nbytes() == 2 * 3 * 4


def test_a_pass_that_did_not_reach_every_layer_is_an_error() -> None:
    decoder = TupleDecoder()
    with LastPositions(decoder) as positions, torch.inference_mode():
        decoder.embed_tokens(torch.tensor([[1]]))
    with pytest.raises(RuntimeError, match="3 states expected"):
        positions.stacked()


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear"):
        LastPositions(torch.nn.Linear(2, 2))
