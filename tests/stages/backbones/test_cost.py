"""Operations and tokens: exact on small models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.backbones import cost
from stages.backbones.capture import NARROW, Decoder, Taps
from stages.backbones.contract import Prompt, Wanted
from stages.backbones.cost import Tokens, cost_of, picture_size, tokens_of
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from stages.backbones.shape import ModelShape, shape_of
from tests.stages.backbones.checkpoints.registry import SMALL
from tests.stages.backbones.test_shape import shaped

TEXT = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WORDS = 9
"""Tokens of the small prompts that are not visual."""
VISUAL = 299


def attention_operations(
    query: Any,
    key: Any,
    value: Any,
    dropout: float = 0.0,
    is_causal: bool = False,
    **rest: Any,
) -> int:
    """What the kernel computes: blocks above the diagonal are skipped where it is told to be causal.

    torch's own counter takes the whole square for causal attention too.
    """
    segments, heads, length, dim = query
    pairs = length * (length + 1) // 2 if is_causal else length * key[2]
    return int(4 * segments * heads * pairs * dim)


def counted(call: Callable[[], Any]) -> int:
    """The operations of all matrix products that are dispatched, by torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own = {attention: attention_operations}
    with FlopCounterMode(display=False, custom_mapping=own) as counter, torch.inference_mode():
        call()
    return int(counter.get_total_flops())


def counted_pass(model: Any, depth: int, tokens: Tokens, **visual: Any) -> int:
    """The operations of one pass through `depth` layers, as the forward stage makes it."""
    ids = torch.cat([torch.full((1, tokens.visual), VISUAL), torch.arange(tokens.prompt)[None]], 1)
    places = torch.arange(tokens.total)[None]
    if "video_grid_thw" in visual:
        places = places.expand(3, 1, -1)
        visual["mm_token_type_ids"] = (ids == VISUAL).int() * 2
    call = {"input_ids": ids, "position_ids": places, "use_cache": False, **visual}
    with Taps(Decoder(model.get_decoder()), Wanted(tuple(range(depth + 1)))) as taps:
        return counted(lambda: taps.run(lambda: model.model(**call)))


@pytest.fixture(autouse=True)
def no_draws() -> Any:
    """Models are built here; the generator of other tests must not depend on it."""
    with torch.random.fork_rng(devices=[]):
        yield


def saved(folder: Path, config: Any, **files: Any) -> ModelShape:
    return shaped(folder, config.to_dict(), **files)


@pytest.mark.parametrize("text", ["qwen2", "llama", "qwen3"])
def test_operations_of_internvl_are_exact(text: str, tmp_path: Path) -> None:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 80,
            "image_size": [64, 64],
            "patch_size": [16, 16],
        },
        text_config={"model_type": text, **TEXT},
        image_token_id=VISUAL,
    )
    model = InternVLForConditionalGeneration(config).eval()
    shape = saved(tmp_path, config)
    # 2 x 2 tokens a keyframe; fewer and more tokens than the last layer lets through.
    for keyframes, visual in ((3, 12), (8, 32)):
        tokens = tokens_of(shape, keyframes, 100, 120, WORDS)
        assert tokens == Tokens(keyframes, (4, 4), visual, WORDS)
        pixels = torch.zeros(keyframes, 3, 64, 64)
        for depth in (0, 1, 3):
            found = counted_pass(model, depth, tokens, pixel_values=pixels)
            assert found == cost_of(shape, tokens, depth).total


@pytest.mark.parametrize("head", [False, True])
def test_operations_of_llava_onevision_are_exact(head: bool, tmp_path: Path) -> None:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 80,
            "image_size": 70,
            "patch_size": 14,
            "vision_use_head": head,
        },
        text_config={"model_type": "qwen2", **TEXT},
        video_token_index=VISUAL,
        image_token_index=298,
    )
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    shape = saved(tmp_path, config)
    tokens = tokens_of(shape, 3, 100, 120, WORDS)
    assert tokens == Tokens(3, (5, 5), 3 * 3 * 3 + 1, WORDS)
    for depth in (1, 3):
        found = counted_pass(model, depth, tokens, pixel_values_videos=torch.zeros(1, 3, 3, 70, 70))
        assert found == cost_of(shape, tokens, depth).total


# One window and a part, a window and the rest of a row, less than a window, whole windows only.
SIZES = [(100, 150), (60, 230), (28, 28), (224, 336)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_operations_of_qwen2_5_are_exact(height: int, width: int, tmp_path: Path) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 48,
            "num_heads": 4,
            "intermediate_size": 80,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        text_config={**TEXT, "rope_parameters": rope(8)},
        video_token_id=VISUAL,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    limits = {"min_pixels": 28 * 28, "max_pixels": 100_000}
    shape = saved(tmp_path, config, preprocessor_config=limits)
    check_qwen(model, shape, height, width, 14, lambda grid: [grid])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_operations_of_qwen3_are_exact(height: int, width: int, tmp_path: Path) -> None:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 48,
            "num_heads": 4,
            "intermediate_size": 80,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={**TEXT, "rope_parameters": rope(64)},
        video_token_id=VISUAL,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    size = {"size": {"shortest_edge": 4096, "longest_edge": 400_000}}
    shape = saved(tmp_path, config, video_preprocessor_config=size)
    check_qwen(model, shape, height, width, 16, lambda grid: [[1, *grid[1:]]] * grid[0])


def rope(half: int) -> dict[str, Any]:
    thirds = half // 3
    section = [half - 2 * thirds, thirds, thirds]
    return {"mrope_section": section, "rope_type": "default", "rope_theta": 1e4}


def check_qwen(
    model: Any,
    shape: ModelShape,
    height: int,
    width: int,
    patch: int,
    grids: Callable[[list[int]], list[list[int]]],
) -> None:
    tokens = tokens_of(shape, 5, height, width, WORDS)
    assert tokens.pictures == 3  # the last keyframe is repeated
    rows, columns = tokens.grid
    assert tokens.visual == 3 * rows * columns // 4
    pixels = torch.zeros(3 * rows * columns, 3 * 2 * patch * patch)
    grid = torch.tensor(grids([3, rows, columns]))
    for depth in (1, 3):
        found = counted_pass(model, depth, tokens, pixel_values_videos=pixels, video_grid_thw=grid)
        assert found == cost_of(shape, tokens, depth).total


def test_the_last_positions_are_those_that_the_hooks_let_through() -> None:
    assert cost.LAST_POSITIONS == NARROW


@pytest.mark.parametrize("name", sorted(SMALL))
def test_operations_of_the_forward_stage_are_exact(name: str, tmp_path: Path) -> None:
    SMALL[name].build(tmp_path)
    shape = shape_of(tmp_path)
    backbone = Multimodal(family_of(tmp_path), "float32", "sdpa", "cpu")
    frames = [np.zeros((120, 160, 3), dtype=np.uint8)] * 4
    asked = [Prompt("", f"Question {letter}: what is wrong?") for letter in "abcdefghij"]
    every = backbone.prepare(frames, [0.1 * n for n in range(4)], asked)
    # Four that are of one length, whatever the tokenizer makes of a letter.
    lengths = [len(ids) for ids in every.token_ids]
    common = [n for n in range(10) if lengths[n] == max(lengths, key=lengths.count)][:4]
    item = dataclasses.replace(
        every,
        token_ids=tuple(every.token_ids[n] for n in common),
        texts=tuple(every.texts[n] for n in common),
    )
    one = dataclasses.replace(item, token_ids=item.token_ids[:1], texts=item.texts[:1])
    ids = np.stack(item.token_ids)
    visual = tokens_of(shape, 4, 120, 160, 0).visual
    tokens = tokens_of(shape, 4, 120, 160, ids.shape[1] - visual)
    # All that follows where they begin to differ is a prompt's own.
    own = ids.shape[1] - int((ids != ids[0]).any(axis=0).argmax())
    for depth in (1, backbone.layers - 1, backbone.layers):
        wanted = Wanted((depth,))
        alone = counted(functools.partial(backbone.forward, [one], wanted))
        assert alone == cost_of(shape, tokens, depth).total
        batch = counted(functools.partial(backbone.forward, [one, one], wanted))
        assert batch == 2 * alone
        packed = counted(functools.partial(backbone.forward, [item], wanted))
        assert packed == cost_of(shape, tokens, depth, prompts=4, suffix_tokens=own).total


def test_a_pass_that_keeps_only_the_embedding_costs_nothing(checkpoint: Path) -> None:
    shape = shape_of(checkpoint)
    tokens = tokens_of(shape, 8, 60, 80, WORDS)
    assert cost_of(shape, tokens, 0).total == cost_of(shape, tokens, 0, prompts=3).total == 0
    with pytest.raises(ValueError, match="depth 7 of a decoder with 6 layers"):
        cost_of(shape, tokens, 7)


def test_pictures_of_the_qwens_are_resized_as_the_library_does_it(tmp_path: Path) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import (
        smart_resize as smart_resize_of_all,
    )

    generator = np.random.default_rng(0)
    old = shaped(
        tmp_path,
        {"model_type": "qwen2_5_vl"},
        preprocessor_config={"min_pixels": 56 * 56, "max_pixels": 400_000},
    )
    size = {"size": {"shortest_edge": 60_000, "longest_edge": 3_000_000}}
    new = shaped(tmp_path, {"model_type": "qwen3_vl"}, video_preprocessor_config=size)
    for _ in range(300):
        height, width = (int(side) for side in generator.integers(8, 1400, 2))
        if max(height, width) / min(height, width) > 100:
            continue
        keyframes = int(generator.integers(2, 17))
        assert picture_size(old, keyframes, height, width) == smart_resize(
            height, width, factor=28, min_pixels=56 * 56, max_pixels=400_000
        )
        assert picture_size(new, keyframes, height, width) == smart_resize_of_all(
            keyframes, height, width, 2, 32, 60_000, 3_000_000
        )
