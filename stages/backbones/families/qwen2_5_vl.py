"""Qwen2.5-VL: one video per segment, whose spacing in seconds goes into the positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from stages.backbones.families.qwen import VIDEO, QwenVideo
from stages.backbones.sizing import fit


class Qwen2_5VL(QwenVideo):  # noqa: N801  (the name that the model goes by)
    """Each keyframe is resized on its own; time is a rotary position."""

    model_type = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"
    name = "Qwen2.5-VL"
    defaults: ClassVar[Mapping[str, Any]] = {
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }

    def size(self, keyframes: int, height: int, width: int) -> tuple[int, int]:
        """Height and width that keyframes of a size are shown in, whatever their number."""
        return fit(height, width, self.patch * self.merge, self.limits, frames=1, counted=1)

    def shown(self, grid: tuple[int, int, int], seconds: Sequence[float]) -> str:
        """The video token for each square of patches."""
        time, rows, columns = grid
        return VIDEO * (time * rows * columns // self.merge**2)

    def times(self, seconds: Sequence[Sequence[float]]) -> list[dict[str, torch.Tensor]]:
        """second_per_grid_ts: seconds from one patch to the next in time."""
        return [{"second_per_grid_ts": torch.tensor([self._step(each)])} for each in seconds]

    def _step(self, seconds: Sequence[float]) -> float:
        span = seconds[-1] - seconds[0]
        if span <= 0:
            # One keyframe, or one shown several times: no time passes.
            return 0.0
        # The library divides by the frames per second of what is shown.
        return self.depth / ((len(seconds) - 1) / span)

    def _pixels(self, settings: Mapping[str, Any]) -> tuple[int, int]:
        older = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}
        given = {new: settings[old] for new, old in older.items() if settings.get(old) is not None}
        return super()._pixels({"size": {**settings["size"], **given}})
