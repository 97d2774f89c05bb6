"""The small backbone's architecture and files: a real InternVL with a Qwen2 text model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.language import corpus

IMAGE_SIZE = 96
PATCH_SIZE = 16
PATCHES = IMAGE_SIZE // PATCH_SIZE
"""Per side of a keyframe."""
TOKENS_PER_FRAME = (PATCHES // 2) ** 2
VOCABULARY = 640
"""Largest vocabulary: 256 bytes, the special tokens, and every word of the world whole."""
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<video>",
)
NAMED_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer() -> Any:
    """A byte-level BPE whose merges make every word of the world one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(), trainer)
    return wrapped(bpe, CHAT_TEMPLATE, NAMED_TOKENS)


def wrapped(plain: Any, template: str, named: Mapping[str, str]) -> Any:
    """A tokenizer of the tokenizers library as one of transformers, with its chat template.

    It knows <|im_end|> and <|endoftext|>; `named` are extra special tokens by attribute.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(named),
        chat_template=template,
        model_max_length=8192,
    )


def build_model(tokenizer: Any, seed: int) -> Any:
    """The model with freshly drawn weights, float32."""
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={
            "hidden_size": 144,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 288,
            "image_size": [IMAGE_SIZE, IMAGE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "attention_bias": True,
            "layer_scale_init_value": 1.0,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 160,
            "intermediate_size": 320,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-6,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS_PER_FRAME,
        tie_word_embeddings=False,
        dtype="float32",
    )
    # Construction draws from torch's generator; the caller's numbers must not depend on it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return InternVLForConditionalGeneration(config).float()


def write_checkpoint(folder: Path, model: Any, tokenizer: Any) -> None:
    """Save like a downloaded checkpoint: weights in half precision, to be loaded as float32."""
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    from stages.backbones.weights import quiet_progress

    end = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    with quiet_progress():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processors(folder, IMAGE_SIZE, TOKENS_PER_FRAME)
    weights = folder / "model.safetensors"
    from safetensors.torch import load_file

    halves = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes files that only their owner may read


def write_processors(folder: Path, image_size: int, tokens_per_picture: int) -> None:
    """The preprocessor files, in the form of InternVL3-hf."""
    from cache.digest import write_json

    pictures = {
        "crop_to_patches": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "GotOcr2ImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "max_patches": 12,
        "min_patches": 1,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": image_size, "width": image_size},
    }
    joint = {
        "image_seq_length": tokens_per_picture,
        "processor_class": "InternVLProcessor",
    }
    write_json(folder / "preprocessor_config.json", {**pictures, **joint})
    write_json(folder / "processor_config.json", joint)
