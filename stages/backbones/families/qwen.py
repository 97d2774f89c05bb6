"""What Qwen2.5-VL and Qwen3-VL share: the keyframes of a segment are shown as one video.

A video goes into patches that span two keyframes; a square of patches becomes one visual token, and
tokens have positions in time, height and width. The video is never sampled again: the frames are
those of the plan, and their times are told to the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError, ItemError
from stages.backbones import pictures, prompting
from stages.backbones.contract import Picture, Prompt
from stages.backbones.families.native import NativeFamily
from stages.backbones.upload import upload

VIDEO = "<|video_pad|>"
_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", VIDEO)
_FOLLOWED: Mapping[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": pictures.BICUBIC,
}
MOST_OBLONG = 200
"""The longer side of a frame over the shorter one, beyond which the library refuses it."""


class QwenVideo(NativeFamily):
    """One video per segment, patches over two keyframes, positions in three axes."""

    name: ClassVar[str]
    """For messages."""
    defaults: ClassVar[Mapping[str, Any]]
    """Settings that the library's video processor has where the checkpoint says nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        settings = {**self.defaults, **pictures.video_preprocessor(folder)}
        pictures.require(folder, settings, _FOLLOWED)
        if settings.get("cap_pixels_per_frame"):
            raise ConfigError(
                f"backbone {folder.name}: the video preprocessor has cap_pixels_per_frame, which "
                "is not supported: leave it out"
            )
        self.patch = int(settings["patch_size"])
        self.merge = int(settings["merge_size"])
        self.depth = int(settings["temporal_patch_size"])
        self._check_patches()
        self.limits = self._pixels(settings)
        self.visual_ids: tuple[int, ...] = (int(self.config.video_token_id),)
        mean, std = pictures.mean_and_std(folder, settings)
        scale = float(settings.get("rescale_factor", 1 / 255))
        self._table = torch.from_numpy(pictures.fused_table(mean, std, scale))

    def size(self, keyframes: int, height: int, width: int) -> tuple[int, int]:
        """Height and width that keyframes of a size are shown in."""
        raise NotImplementedError

    def shown(self, grid: tuple[int, int, int], seconds: Sequence[float]) -> str:
        """What stands in place of the one video token of the chat template."""
        raise NotImplementedError

    def times(self, seconds: Sequence[Sequence[float]]) -> list[dict[str, torch.Tensor]]:
        """Per segment, keyword arguments of the model that tell it the times: [1] each."""
        return [{} for _ in seconds]

    def resize(self, keyframes: Sequence[Picture]) -> NDArray[np.uint8]:
        """All to one size, [keyframes, height, width, 3], by the torch kernel."""
        height, width = keyframes[0].shape[:2]
        if any(frame.shape[:2] != (height, width) for frame in keyframes):
            raise ValueError("the keyframes of a segment must have one size")
        if max(height, width) > MOST_OBLONG * min(height, width):
            raise ItemError(
                f"frames of {width}x{height} pixels: {self.name} takes none that are more than "
                f"{MOST_OBLONG} times longer than high, or higher than long"
            )
        target = self.size(len(keyframes), height, width)
        return np.stack([pictures.resize_torch(frame, *target) for frame in keyframes])

    def text(self, prompt: Prompt, keyframes: int, seconds: Sequence[float]) -> str:
        """Through the chat template, with one video token for all keyframes."""
        prompting.refuse_tokens(prompt, _TOKENS)
        prompting.refuse_frame_format(prompt, self.name)
        content = [{"type": "video"}, {"type": "text", "text": prompt.question}]
        text = prompting.templated(self.tokenizer, prompt, content)
        if text.count(VIDEO) != 1:
            raise ConfigError(
                f"backbone {self.folder.name}: its chat template shows a video as "
                f"{text.count(VIDEO)} tokens {VIDEO}, and 1 is expected"
            )
        return text

    def expand(self, text: str, shape: tuple[int, ...], seconds: Sequence[float]) -> str:
        """The video token repeated for every visual token of the video."""
        return text.replace(VIDEO, self.shown(self._grid(shape), seconds))

    def visual_inputs(
        self, shown: torch.Tensor, seconds: Sequence[Sequence[float]]
    ) -> Mapping[str, Any]:
        """pixel_values_videos [segments * patches, values], video_grid_thw [segments, 3], times."""
        segments, keyframes = shown.shape[:2]
        time, rows, columns = self._grid(tuple(shown.shape[1:]))
        if missing := time * self.depth - keyframes:
            shown = torch.cat([shown, shown[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        planes = pictures.normalise(shown, upload(self._table, shown.device))
        # Patches that become one visual token stand together, and the pixels of a patch by channel.
        squares = (rows // self.merge, self.merge, self.patch)
        beside = (columns // self.merge, self.merge, self.patch)
        split = planes.reshape(segments, time, self.depth, 3, *squares, *beside)
        patches = split.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
        grid = upload(torch.tensor([[time, rows, columns]]), shown.device)
        told = self.times(seconds)
        return {
            "pixel_values_videos": patches.reshape(segments * time * rows * columns, -1),
            "video_grid_thw": grid.repeat(segments, 1),
            **{n: upload(torch.cat([one[n] for one in told]), shown.device) for n in told[0]},
        }

    def token_inputs(self, token_ids: torch.Tensor) -> Mapping[str, Any]:
        """mm_token_type_ids [segments, tokens]: 2 where a video is, 0 elsewhere.

        Without them the model counts positions one by one as in a text, and says nothing.
        """
        return {"mm_token_type_ids": 2 * (token_ids == self.visual_ids[0]).long()}

    def positions(
        self,
        model: Any,
        token_ids: torch.Tensor,
        shape: tuple[int, ...],
        seconds: Sequence[Sequence[float]],
    ) -> torch.Tensor:
        """Time, height and width of every token, [3, segments, tokens], as the model counts them."""
        # Once for all segments that are alike: the model's own function takes a dozen small steps
        # for each.
        kinds = self.token_inputs(token_ids)["mm_token_type_ids"]
        grid = torch.tensor([self._grid(shape)])
        known: dict[tuple[bytes, ...], torch.Tensor] = {}
        rows = []
        for segment, told in enumerate(self.times(seconds)):
            kind = kinds[segment : segment + 1]
            alike = (kind.numpy().tobytes(), *(value.numpy().tobytes() for value in told.values()))
            if alike not in known:
                known[alike], _ = model.model.get_rope_index(
                    token_ids[segment : segment + 1], kind, video_grid_thw=grid, **told
                )
            rows.append(known[alike])
        return torch.cat(rows, dim=1)

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Patches in time, height and width, of pictures [keyframes, height, width, 3]."""
        keyframes, height, width = shape[:3]
        return math.ceil(keyframes / self.depth), height // self.patch, width // self.patch

    def _pixels(self, settings: Mapping[str, Any]) -> tuple[int, int]:
        """Fewest and most pixels of what is shown."""
        size = settings["size"]
        try:
            return int(size["shortest_edge"]), int(size["longest_edge"])
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"backbone {self.folder.name}: the video preprocessor has size = {size}, and "
                "shortest_edge and longest_edge (in pixels) are expected"
            ) from error

    def _check_patches(self) -> None:
        vision = self.config.vision_config
        theirs = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        if theirs != (self.patch, self.merge, self.depth):
            raise ConfigError(
                f"backbone {self.folder.name}: patch, merge and temporal patch size are "
                f"{(self.patch, self.merge, self.depth)} in the video preprocessor and {theirs} in "
                "config.json: the files are not of one checkpoint"
            )
