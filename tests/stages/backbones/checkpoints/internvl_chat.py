"""A small InternVL in its original layout: files and weight names as published, random weights.

It holds Python files as the published ones do. Here they raise: whoever runs them is found out.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

Text = Literal["internlm2", "qwen2"]
Vision = Literal["300M", "6B"]
Shapes = dict[str, tuple[int, ...]]

CODE = (
    "configuration_internvl_chat.py",
    "modeling_internvl_chat.py",
    "modeling_internlm2.py",
    "tokenization_internlm2.py",
)
AUTO_MAP = {
    "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
    "AutoModel": "modeling_internvl_chat.InternVLChatModel",
    "AutoModelForCausalLM": "modeling_internvl_chat.InternVLChatModel",
}
PICTURES = ("<img>", "</img>", "<IMG_CONTEXT>")
MARKS = ("<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
REPLACED = {"[UNUSED_TOKEN_145]": "<|im_end|>", "[UNUSED_TOKEN_146]": "<|im_start|>"}
"""Pieces of the sentencepiece model whose ids other tokens have taken."""

SENTENCES = (
    "The video shows a man who walks along the street and then runs away from a burning car.",
    "Is there anything abnormal in this video? Answer with yes or no, and say briefly why.",
    "user assistant system Frame1: Frame2: describe what happens in the frames of the camera",
    "视频中有人在街上打架。 是否异常？ 你是一个助手。",
    "  def spaces(before, after):\n    return 'two  spaces' # Grüße aus Köln",
)


def build(folder: Path, seed: int = 0, text: Text = "internlm2", vision: Vision = "300M") -> None:
    """Write the checkpoint: the vision model in one shard, the rest in another."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = (
        write_internlm2_tokenizer(folder) if text == "internlm2" else _qwen2_tokenizer(folder)
    )
    config = _config(text, vision, vocabulary)
    _write(folder / "config.json", config)
    weights = draw(shapes(config), seed)
    first = {name: tensor for name, tensor in weights.items() if name.startswith("vision_model")}
    write_shards(folder, first, {name: weights[name] for name in weights if name not in first})
    own = {"eos_token_id": [_ids(folder)["<|im_end|>"], _ids(folder)["<|im_start|>"]]}
    if text == "internlm2":
        _write(folder / "generation_config.json", {"_from_model_config": True, **own})
    for name in CODE:
        (folder / name).write_text(f"raise SystemExit('code of the checkpoint was run: {name}')\n")


def write_shards(folder: Path, *shards: dict[str, torch.Tensor]) -> None:
    """Write tensors as shards with their index."""
    index = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(shard, name))
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def shapes(config: dict[str, Any]) -> Shapes:
    """Names and shapes of all weights, as published."""
    return _vision_shapes(config["vision_config"]) | _text_shapes(config)


def draw(wanted: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """Noise in every weight: nothing is left at zero or one, where a test would see nothing."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in sorted(wanted.items()):
        noise = generator.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            values = 0.1 * noise + (0.0 if name.endswith("bias") else 1.0)
        elif "embed" in name and "patch" not in name:
            values = noise
        else:
            gain = 2.0 if any(part in name for part in ("qkv", "q_proj", "k_proj")) else 1.0
            values = noise * gain / math.sqrt(math.prod(shape[1:]))
        found[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return found


def _vision_shapes(vision: dict[str, Any]) -> Shapes:
    width, wide = vision["hidden_size"], vision["intermediate_size"]
    patch = vision["patch_size"]
    places = (vision["image_size"] // patch) ** 2 + 1
    layer: Shapes = {
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm1.weight": (width,),
        "norm2.weight": (width,),
        "ls1": (width,),
        "ls2": (width,),
        "mlp.fc1.weight": (wide, width),
        "mlp.fc1.bias": (wide,),
        "mlp.fc2.weight": (width, wide),
        "mlp.fc2.bias": (width,),
    }
    if vision["qkv_bias"]:
        layer["attn.qkv.bias"] = (3 * width,)
    if vision["qk_normalization"]:
        layer |= {"attn.q_norm.weight": (width,), "attn.k_norm.weight": (width,)}
    if vision["norm_type"] == "layer_norm":
        layer |= {"norm1.bias": (width,), "norm2.bias": (width,)}
    found: Shapes = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.position_embedding": (1, places, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.patch_embedding.bias": (width,),
    }
    for number in range(vision["num_hidden_layers"]):
        prefix = f"vision_model.encoder.layers.{number}."
        found |= {prefix + name: shape for name, shape in layer.items()}
    return found


def _text_shapes(config: dict[str, Any]) -> Shapes:
    text = config["llm_config"]
    width, wide, vocabulary = (
        text[name] for name in ("hidden_size", "intermediate_size", "vocab_size")
    )
    head = width // text["num_attention_heads"]
    keys = text["num_key_value_heads"] * head
    joined = config["vision_config"]["hidden_size"] * 4
    found: Shapes = {
        "mlp1.0.weight": (joined,),
        "mlp1.0.bias": (joined,),
        "mlp1.1.weight": (width, joined),
        "mlp1.1.bias": (width,),
        "mlp1.3.weight": (width, width),
        "mlp1.3.bias": (width,),
        "language_model.model.norm.weight": (width,),
    }
    if text["model_type"] == "internlm2":
        ends = ("model.tok_embeddings.weight", "output.weight")
        layer: Shapes = {
            "attention.wqkv.weight": (width + 2 * keys, width),
            "attention.wo.weight": (width, width),
            "attention_norm.weight": (width,),
            "ffn_norm.weight": (width,),
            "feed_forward.w1.weight": (wide, width),
            "feed_forward.w2.weight": (width, wide),
            "feed_forward.w3.weight": (wide, width),
        }
    else:
        ends = ("model.embed_tokens.weight", "lm_head.weight")
        layer = {
            "self_attn.q_proj.weight": (width, width),
            "self_attn.q_proj.bias": (width,),
            "self_attn.k_proj.weight": (keys, width),
            "self_attn.k_proj.bias": (keys,),
            "self_attn.v_proj.weight": (keys, width),
            "self_attn.v_proj.bias": (keys,),
            "self_attn.o_proj.weight": (width, width),
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
            "mlp.gate_proj.weight": (wide, width),
            "mlp.up_proj.weight": (wide, width),
            "mlp.down_proj.weight": (width, wide),
        }
    found |= {f"language_model.{name}": (vocabulary, width) for name in ends}
    for number in range(text["num_hidden_layers"]):
        prefix = f"language_model.model.layers.{number}."
        found |= {prefix + name: shape for name, shape in layer.items()}
    return found


def _config(text: Text, vision: Vision, vocabulary: int) -> dict[str, Any]:
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rope_scaling": {"factor": 2.0, "type": "dynamic"},
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    internlm2 = {
        "architectures": ["InternLM2ForCausalLM"],
        "auto_map": {"AutoModel": "modeling_internlm2.InternLM2ForCausalLM"},
        "attn_implementation": "flash_attention_2",
        "bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "model_type": "internlm2",
        "rms_norm_eps": 1e-5,
    }
    qwen2 = {
        "architectures": ["Qwen2ForCausalLM"],
        "_attn_implementation_autoset": True,
        "bos_token_id": 258,
        "eos_token_id": 258,
        "max_window_layers": 70,
        "model_type": "qwen2",
        "rms_norm_eps": 1e-6,
        "sliding_window": 32768,
        "use_sliding_window": False,
    }
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": AUTO_MAP,
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 56,
        "llm_config": sizes | (internlm2 if text == "internlm2" else qwen2),
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "model_type": "internvl_chat",
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "torch_dtype": "float32",
        "transformers_version": None,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": True,
        "vision_config": _vision_config(vision),
    }


def _vision_config(vision: Vision) -> dict[str, Any]:
    large = vision == "6B"
    return {
        "architectures": ["InternVisionModel"],
        "attention_dropout": 0.0,
        "drop_path_rate": 0.1,
        "dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": 32,
        "image_size": 56,
        "initializer_factor": 1.0,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-6,
        "model_type": "intern_vit_6b",
        "norm_type": "rms_norm" if large else "layer_norm",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 3,
        "patch_size": 14,
        "qk_normalization": large,
        "qkv_bias": not large,
        "torch_dtype": "float32",
        "use_flash_attn": True,
    }


def write_internlm2_tokenizer(folder: Path) -> int:
    """A sentencepiece model with the settings of InternLM2's, and its added tokens; the vocabulary."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 2),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        user_defined_symbols=list(REPLACED),
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokens = {number: pieces.id_to_piece(number) for number in range(3)}
    tokens |= {pieces.piece_to_id(piece): token for piece, token in REPLACED.items()}
    tokens |= dict(enumerate(PICTURES + MARKS, start=pieces.vocab_size()))
    _write(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": _added(tokens),
            "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
            "bos_token": "<s>",
            "chat_template": "{{ bos_token }}{{ messages[0]['content'] }}",
            "eos_token": "</s>",
            "model_max_length": 8192,
            "pad_token": "</s>",
            "tokenizer_class": "InternLM2Tokenizer",
            "unk_token": "<unk>",
        },
    )
    return len(PICTURES + MARKS) + int(pieces.vocab_size())


def _qwen2_tokenizer(folder: Path) -> int:
    """Bytes and three merges, and the added tokens; the size of the vocabulary."""
    from tokenizers import pre_tokenizers

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the"]
    _write(folder / "vocab.json", {symbol: number for number, symbol in enumerate(symbols)})
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e\n", encoding="utf-8")
    own = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *PICTURES, *MARKS)
    tokens = dict(enumerate(own, start=len(symbols)))
    _write(folder / "added_tokens.json", {token: number for number, token in tokens.items()})
    _write(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>"})
    _write(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": _added(tokens),
            "additional_special_tokens": list(own[1:]),
            "bos_token": None,
            "chat_template": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 8192,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    return len(symbols) + len(own)


def _added(tokens: dict[int, str]) -> dict[str, Any]:
    off = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {str(n): {"content": text, **off, "special": True} for n, text in tokens.items()}


def _ids(folder: Path) -> dict[str, int]:
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    added = settings["added_tokens_decoder"]
    return {token["content"]: int(number) for number, token in added.items()}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
