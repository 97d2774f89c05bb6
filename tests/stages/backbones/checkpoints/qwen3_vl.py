"""A small Qwen3-VL: the real architecture and the files of a release, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.small_backbone import byte_tokenizer
from tests.stages.backbones.checkpoints import parts, qwen

_PATCHES: dict[str, Any] = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
}
IMAGES: dict[str, Any] = {
    **_PATCHES,
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
VIDEOS: dict[str, Any] = {
    **_PATCHES,
    "size": {"longest_edge": 25165824, "shortest_edge": 4096},
    "video_processor_type": "Qwen3VLVideoProcessor",
}


def build(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint into `folder`."""
    tokenizer = byte_tokenizer(qwen.SPECIAL, qwen.template())
    model = _model(tokenizer)
    parts.draw_noise(model, seed)
    model.generation_config = qwen.answering(tokenizer, temperature=0.7, top_k=20, top_p=0.8)
    parts.save(folder, model, tokenizer)
    files = {"preprocessor_config.json": IMAGES, "video_preprocessor_config.json": VIDEOS}
    qwen.write_released(folder, files)


def _model(tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            # Wider than the hidden size over the heads, as in Qwen3-VL-4B.
            "head_dim": 32,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
        },
        **qwen.token_ids(tokenizer),
        tie_word_embeddings=False,
        dtype="float32",
    )
    return Qwen3VLForConditionalGeneration(config).float().eval()
