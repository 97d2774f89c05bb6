"""InternVL in the native form of transformers: InternVL2.5-MPO, 3 and 3.5, named ...-hf.

One tile per keyframe, resized by Pillow, and the prompt in the form of a video message: a line
"Frame1: <img>...</img>" per keyframe, then the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.backbones import pictures, prompting
from stages.backbones.contract import Picture, Prompt
from stages.backbones.families.native import NativeFamily
from stages.backbones.upload import upload

_TOKENS = {
    "context_image_token": "<IMG_CONTEXT>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
}
FRAME_FORMAT = "Frame{number}: {image}\n"


class InternVL(NativeFamily):
    """Tiles of one size, a line per keyframe, positions counted one by one."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        vision = self.config.vision_config
        height, width = _pair(vision.image_size)
        rows, columns = _pair(vision.patch_size)
        self.size = (height, width)
        patches = (height // rows) * (width // columns)
        self.tokens_per_frame = round(patches * float(self.config.downsample_ratio) ** 2)
        self.visual_ids: tuple[int, ...] = (int(self.config.image_token_id),)
        self._table = torch.from_numpy(self._normalisation())

    def resize(self, keyframes: Sequence[Picture]) -> NDArray[np.uint8]:
        """One tile per keyframe, [keyframes, height, width, 3]."""
        return np.stack([pictures.resize_pillow(frame, *self.size) for frame in keyframes])

    def text(self, prompt: Prompt, keyframes: int, seconds: Sequence[float]) -> str:
        """Through the chat template, with one image token per keyframe."""
        prompting.refuse_tokens(prompt, [self._token(name) for name in _TOKENS])
        start, image, end = (self._token(f"{n}_image_token") for n in ("start", "context", "end"))
        form = prompt.frame_format or FRAME_FORMAT
        shown = "".join(
            form.replace("{number}", str(number)).replace("{image}", start + image + end)
            for number in range(1, keyframes + 1)
        )
        return self.chat(prompt, shown + prompt.question)

    def chat(self, prompt: Prompt, content: str) -> str:
        """One turn with this content, up to where the answer begins."""
        return prompting.templated(self.tokenizer, prompt, [{"type": "text", "text": content}])

    def expand(self, text: str, shape: tuple[int, ...], seconds: Sequence[float]) -> str:
        """Each image token repeated for every feature of a tile."""
        image = self._token("context_image_token")
        return text.replace(image, image * self.tokens_per_frame)

    def visual_inputs(
        self, shown: torch.Tensor, seconds: Sequence[Sequence[float]]
    ) -> Mapping[str, Any]:
        """pixel_values [segments * keyframes, 3, height, width]."""
        return {
            "pixel_values": pictures.normalise(shown, upload(self._table, shown.device)).flatten(
                0, 1
            )
        }

    def _token(self, name: str) -> str:
        return str(getattr(self.tokenizer, name, None) or _TOKENS[name])

    def _normalisation(self) -> NDArray[np.float32]:
        settings = pictures.preprocessor(self.folder)
        expected = {
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "resample": pictures.BICUBIC,
            "size": {"height": self.size[0], "width": self.size[1]},
        }
        pictures.require(self.folder, settings, expected)
        mean, std = pictures.mean_and_std(self.folder, settings)
        return pictures.pillow_table(mean, std, float(settings.get("rescale_factor", 1 / 255)))


def _pair(value: Any) -> tuple[int, int]:
    """A size given as one number or as two."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)
