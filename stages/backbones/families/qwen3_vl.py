"""Qwen3-VL: one video per segment, with the time of each pair of keyframes as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from stages.backbones.families.qwen import VIDEO, QwenVideo
from stages.backbones.sizing import fit


class Qwen3VL(QwenVideo):
    """All keyframes together decide their size; "<0.3 seconds>" stands before each pair."""

    model_type = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"
    name = "Qwen3-VL"
    defaults: ClassVar[Mapping[str, Any]] = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }

    def size(self, keyframes: int, height: int, width: int) -> tuple[int, int]:
        """Height and width that so many keyframes of a size are shown in."""
        factor = self.patch * self.merge
        # A single keyframe, which the library refuses, is shown as two: so the model gets it.
        frames = max(keyframes, self.depth)
        if min(height, width) < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        counted = round(frames / self.depth) * self.depth
        return fit(height, width, factor, self.limits, frames, counted)

    def shown(self, grid: tuple[int, int, int], seconds: Sequence[float]) -> str:
        """Per patch in time: when it is, and a video token for each square of patches."""
        _, rows, columns = grid
        tokens = VIDEO * (rows * columns // self.merge**2)
        return "".join(
            f"<{when:.1f} seconds><|vision_start|>{tokens}<|vision_end|>"
            for when in self.middles(seconds)
        )

    def middles(self, seconds: Sequence[float]) -> list[float]:
        """The time of each patch: halfway between its first and its last keyframe."""
        # To the microsecond: what is left of rounding in a difference of two times would decide
        # between 0.2 and 0.3 where the middle is 0.25.
        exact = [round(time - seconds[0], 6) for time in seconds]
        exact += exact[-1:] * (-len(exact) % self.depth)
        starts = range(0, len(exact), self.depth)
        return [(exact[start] + exact[start + self.depth - 1]) / 2 for start in starts]
