"""LLaVA-OneVision in the form of transformers: llava-hf/llava-onevision-qwen2-7b-ov-hf and others.

The keyframes are one video: each is resized to a square by the video processor's kernel, its
features are pooled to a quarter (196 of 729 in the released models), and one newline feature ends
the whole video. Shown as images they would be cut into tiles and cost 8 to 40 times the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones import pictures, prompting
from stages.backbones.contract import Picture, Prompt
from stages.backbones.families.native import NativeFamily
from stages.backbones.upload import upload


class LlavaOneVision(NativeFamily):
    """One video of square frames, pooled, positions counted one by one."""

    model_type = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = self.config
        if config.vision_feature_select_strategy != "full":
            raise ConfigError(
                f"backbone {folder.name}: config.json has vision_feature_select_strategy = "
                f"{config.vision_feature_select_strategy!r}, only 'full' is supported"
            )
        vision = config.vision_config
        self.side = int(vision.image_size)
        pooled = math.ceil(self.side // int(vision.patch_size) / 2)
        self.tokens_per_frame = pooled**2
        self.visual_ids: tuple[int, ...] = (int(config.video_token_id),)
        self._table = torch.from_numpy(self._normalisation())

    def resize(self, keyframes: Sequence[Picture]) -> NDArray[np.uint8]:
        """Squares, whatever the shape was, [keyframes, height, width, 3]."""
        return np.stack([pictures.resize_torch(frame, self.side, self.side) for frame in keyframes])

    def text(self, prompt: Prompt, keyframes: int, seconds: Sequence[float]) -> str:
        """Through the chat template, with one token for the whole video."""
        prompting.refuse_frame_format(prompt, "LLaVA-OneVision")
        image = self._token(int(self.config.image_token_id))
        prompting.refuse_tokens(prompt, [image, self._video()])
        content = [{"type": "video"}, {"type": "text", "text": prompt.question}]
        return prompting.templated(self.tokenizer, prompt, content)

    def expand(self, text: str, shape: tuple[int, ...], seconds: Sequence[float]) -> str:
        """The video token repeated for every feature of every frame, and for the newline."""
        return text.replace(self._video(), self._video() * (shape[0] * self.tokens_per_frame + 1))

    def visual_inputs(
        self, shown: torch.Tensor, seconds: Sequence[Sequence[float]]
    ) -> Mapping[str, Any]:
        """pixel_values_videos [segments, keyframes, 3, height, width]."""
        return {"pixel_values_videos": pictures.normalise(shown, upload(self._table, shown.device))}

    def _video(self) -> str:
        return self._token(self.visual_ids[0])

    def _token(self, number: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(number))

    def _normalisation(self) -> NDArray[np.float32]:
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        # What a file leaves out is what the library's video processor has by itself.
        defaults = {
            "size": {"height": 384, "width": 384},
            "image_mean": OPENAI_CLIP_MEAN,
            "image_std": OPENAI_CLIP_STD,
            "rescale_factor": 1 / 255,
        }
        settings = defaults | pictures.video_preprocessor(self.folder)
        expected = {
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "resample": pictures.BICUBIC,
            "size": {"height": self.side, "width": self.side},
        }
        pictures.require(self.folder, settings, expected)
        if settings.get("do_center_crop"):
            raise ConfigError(
                f"backbone {self.folder.name}: the preprocessor has do_center_crop = true, only "
                "false is supported"
            )
        mean, std = pictures.mean_and_std(self.folder, settings)
        return pictures.fused_table(mean, std, float(settings["rescale_factor"]))
