"""What an original-layout InternVL computes, written plainly from its published layout.

Plain tensor operations on the stored weights under their stored names: no class of a model library,
no renaming, nothing split beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

Weights = Mapping[str, torch.Tensor]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Computed:
    """Everything that a pass over one prompt left."""

    states: list[torch.Tensor]
    """Embedding output, then each decoder layer's: [tokens, width]."""
    heads: list[torch.Tensor]
    """Per decoder layer: what each head read, before the output projection, [tokens, heads, d]."""
    logits: torch.Tensor
    """[tokens, vocabulary]."""


def read(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Weights, Config]:
    """Stored weights by stored names, and config.json."""
    weights = {
        name: tensor.to(dtype)
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    return weights, json.loads((folder / "config.json").read_text(encoding="utf-8"))


def forward(
    weights: Weights, config: Config, ids: torch.Tensor, pixels: torch.Tensor, image_id: int
) -> Computed:
    """One prompt: ids [tokens], pixels [keyframes, 3, height, width]."""
    text = config["llm_config"]
    internlm2 = text["model_type"] == "internlm2"
    embedding = "language_model.model." + ("tok_embeddings" if internlm2 else "embed_tokens")
    states = weights[f"{embedding}.weight"][ids].clone()
    features = _project(weights, _vision(weights, config["vision_config"], pixels))
    states[ids == image_id] = features.flatten(0, 1)
    found, heads = [states], []
    rotary = _rotary(text, len(ids))
    for number in range(text["num_hidden_layers"]):
        layer = _under(weights, f"language_model.model.layers.{number}.")
        before = _under(layer, "attention_norm." if internlm2 else "input_layernorm.")
        seen = _rms(states, before["weight"], text["rms_norm_eps"]).to(states.dtype)
        q, k, v = _internlm2_qkv(layer, text, seen) if internlm2 else _qwen2_qkv(layer, text, seen)
        read_out = _attend(_rotate(q, *rotary), _rotate(k, *rotary), v, causal=True)
        heads.append(read_out)
        out = layer["attention.wo.weight" if internlm2 else "self_attn.o_proj.weight"]
        states = states + F.linear(read_out.flatten(1), out)
        after = _under(layer, "ffn_norm." if internlm2 else "post_attention_layernorm.")
        seen = _rms(states, after["weight"], text["rms_norm_eps"])
        states = states + (_feed_forward if internlm2 else _mlp)(layer, seen)
        found.append(states)
    last = _rms(states, weights["language_model.model.norm.weight"], text["rms_norm_eps"])
    head = weights["language_model." + ("output" if internlm2 else "lm_head") + ".weight"]
    return Computed(found, heads, F.linear(last, head))


def inverse_frequencies(text: Config) -> torch.Tensor:
    """theta ** (-2 i / d), [d / 2]: what both text models rotate by within their trained length."""
    width = text["hidden_size"] // text["num_attention_heads"]
    exponents = torch.arange(0, width, 2).float() / width
    return torch.tensor(1.0) / torch.pow(text["rope_theta"], exponents)


def pixel_values(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [..., height, width, 3] scaled to 0..1 and normalised by ImageNet's numbers."""
    planes = pictures.movedim(-1, -3).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return (planes - mean) / std


def _vision(weights: Weights, vision: Config, pixels: torch.Tensor) -> torch.Tensor:
    """[keyframes, 1 + patches, width]."""
    own = _under(weights, "vision_model.embeddings.")
    patches = F.conv2d(
        pixels.to(own["patch_embedding.weight"].dtype),
        own["patch_embedding.weight"],
        own["patch_embedding.bias"],
        stride=vision["patch_size"],
    )
    states = patches.flatten(2).transpose(1, 2)
    states = torch.cat([own["class_embedding"].expand(len(states), 1, -1), states], dim=1)
    states = states + own["position_embedding"]
    for number in range(vision["num_hidden_layers"]):
        layer = _under(weights, f"vision_model.encoder.layers.{number}.")
        read_out = _vision_attention(layer, vision, _vision_norm(layer, "norm1", vision, states))
        states = states + read_out * layer["ls1"]
        seen = _vision_norm(layer, "norm2", vision, states)
        wide = F.gelu(F.linear(seen, layer["mlp.fc1.weight"], layer["mlp.fc1.bias"]))
        states = (
            states + F.linear(wide, layer["mlp.fc2.weight"], layer["mlp.fc2.bias"]) * layer["ls2"]
        )
    return states


def _vision_norm(layer: Weights, name: str, vision: Config, states: torch.Tensor) -> torch.Tensor:
    eps = vision["layer_norm_eps"]
    if vision["norm_type"] == "rms_norm":
        return _rms(states, layer[f"{name}.weight"], eps)
    width = (states.shape[-1],)
    return F.layer_norm(states, width, layer[f"{name}.weight"], layer[f"{name}.bias"], eps)


def _vision_attention(layer: Weights, vision: Config, states: torch.Tensor) -> torch.Tensor:
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    joined = F.linear(states, layer["attn.qkv.weight"], layer.get("attn.qkv.bias"))
    q, k, v = joined[..., :width], joined[..., width : 2 * width], joined[..., 2 * width :]
    if vision["qk_normalization"]:
        # Over all heads together, not within each.
        q = _rms(q, layer["attn.q_norm.weight"], vision["layer_norm_eps"])
        k = _rms(k, layer["attn.k_norm.weight"], vision["layer_norm_eps"])
    q, k, v = (torch.unflatten(part, -1, (heads, -1)) for part in (q, k, v))
    read_out = torch.stack([_attend(*one, causal=False) for one in zip(q, k, v, strict=True)])
    return F.linear(read_out.flatten(2), layer["attn.proj.weight"], layer["attn.proj.bias"])


def _project(weights: Weights, states: torch.Tensor) -> torch.Tensor:
    """Four neighbouring patches to one token, then two linear layers: [keyframes, tokens, width]."""
    side = round((states.shape[1] - 1) ** 0.5)
    grid = torch.unflatten(states[:, 1:], 1, (side, side))
    # A token holds its square of patches row by row.
    squares = [grid[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    joined = torch.cat(squares, dim=-1).flatten(1, 2)
    own = _under(weights, "mlp1.")
    joined = F.layer_norm(joined, (joined.shape[-1],), own["0.weight"], own["0.bias"], 1e-5)
    wide = F.gelu(F.linear(joined, own["1.weight"], own["1.bias"]))
    return F.linear(wide, own["3.weight"], own["3.bias"])


def _internlm2_qkv(layer: Weights, text: Config, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[tokens, heads, d] each: per key head its queries, its key and its value lie together."""
    heads, keys = text["num_attention_heads"], text["num_key_value_heads"]
    each = heads // keys
    joined = F.linear(states, layer["attention.wqkv.weight"])
    blocks = torch.unflatten(joined, -1, (keys * (each + 2), -1)).unbind(1)
    group = each + 2
    q = [blocks[key * group + number] for key in range(keys) for number in range(each)]
    k = [blocks[key * group + each] for key in range(keys) for _ in range(each)]
    v = [blocks[key * group + each + 1] for key in range(keys) for _ in range(each)]
    return tuple(torch.stack(part, dim=1) for part in (q, k, v))


def _qwen2_qkv(layer: Weights, text: Config, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    heads, keys = text["num_attention_heads"], text["num_key_value_heads"]
    parts = []
    for name, count in (("q", heads), ("k", keys), ("v", keys)):
        own = _under(layer, f"self_attn.{name}_proj.")
        part = torch.unflatten(F.linear(states, own["weight"], own["bias"]), -1, (count, -1))
        parts.append(part.repeat_interleave(heads // count, dim=1))
    return tuple(parts)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """[tokens, heads, d] each."""
    scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
    if causal:
        later = torch.ones(len(q), len(q)).triu(1).bool()
        scores = scores.masked_fill(later, -torch.inf)
    chances = scores.float().softmax(-1).to(v.dtype)
    return torch.einsum("hqk,khd->qhd", chances, v)


def _rotary(text: Config, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.outer(torch.arange(tokens).float(), inverse_frequencies(text))
    both = torch.cat([angles, angles], dim=-1)[:, None]
    return both.cos(), both.sin()


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = states.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return states * cos.to(states.dtype) + turned * sin.to(states.dtype)


def _feed_forward(layer: Weights, states: torch.Tensor) -> torch.Tensor:
    own = _under(layer, "feed_forward.")
    gate = F.silu(F.linear(states, own["w1.weight"]))
    return F.linear(gate * F.linear(states, own["w3.weight"]), own["w2.weight"])


def _mlp(layer: Weights, states: torch.Tensor) -> torch.Tensor:
    own = _under(layer, "mlp.")
    gate = F.silu(F.linear(states, own["gate_proj.weight"]))
    return F.linear(gate * F.linear(states, own["up_proj.weight"]), own["down_proj.weight"])


def _rms(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = states.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * scaled.to(states.dtype)


def _under(weights: Weights, prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose names begin so, by the rest of their names."""
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
