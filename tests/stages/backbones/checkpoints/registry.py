"""Every small checkpoint that all checks are run on, and how the library is asked about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.backbones.contract import Prompt
from tests.oracle import Messages, Request, video_messages
from tests.stages.backbones.checkpoints import (
    internvl,
    internvl_chat,
    llava_onevision,
    qwen2_5_vl,
    qwen3_vl,
)

Asking = Callable[[Prompt, NDArray[np.uint8], Sequence[float]], Request]
"""Prompt, keyframes and their times as a request to the library's processor."""


@dataclass(frozen=True)
class Small:
    """One checkpoint of the real architecture, small enough for a test."""

    build: Callable[[Path], None]
    ask: Asking | None
    """None where the library has no processor: tests of the family have a reference of their own."""


def as_images(prompt: Prompt, frames: NDArray[np.uint8], seconds: Sequence[float]) -> Request:
    """InternVL: a line per keyframe, one tile each, resized by Pillow."""
    options = {"crop_to_patches": False}
    return Request(frame_messages(prompt, len(frames)), frames, "images", options, pillow=True)


def frame_messages(prompt: Prompt, frames: int) -> Messages:
    """The lines that InternVL's processor writes for a video, with an image in each."""
    messages = video_messages(prompt)
    question = messages[-1]["content"][1:]
    lines: list[dict[str, str]] = []
    for number in range(1, frames + 1):
        lines += [{"type": "text", "text": f"Frame{number}: "}, {"type": "image"}]
    messages[-1]["content"] = [*lines, *question]
    return messages


def as_video(prompt: Prompt, frames: NDArray[np.uint8], seconds: Sequence[float]) -> Request:
    """LLaVA-OneVision: one video, all of its frames."""
    return Request(video_messages(prompt), frames, options={"do_sample_frames": False})


def as_spaced_video(prompt: Prompt, frames: NDArray[np.uint8], seconds: Sequence[float]) -> Request:
    """Qwen2.5-VL: it is told how many of these frames there are in a second."""
    span = seconds[-1] - seconds[0]
    return _timed(prompt, frames, (len(frames) - 1) / span, list(range(len(frames))))


def as_dated_video(prompt: Prompt, frames: NDArray[np.uint8], seconds: Sequence[float]) -> Request:
    """Qwen3-VL: it is told when each frame was, here in microseconds."""
    ticks = [round((time - seconds[0]) * 1e6) for time in seconds]
    return _timed(prompt, frames, 1e6, ticks)


def _timed(prompt: Prompt, frames: NDArray[np.uint8], fps: float, numbers: list[int]) -> Request:
    metadata: dict[str, Any] = {
        "fps": fps,
        "frames_indices": numbers,
        "total_num_frames": max(numbers) + 1,
    }
    options = {"video_metadata": [metadata], "do_sample_frames": False}
    return Request(video_messages(prompt), frames, options=options)


SMALL: dict[str, Small] = {
    "internvl (qwen2)": Small(partial(internvl.build, text="qwen2"), as_images),
    "internvl (llama)": Small(partial(internvl.build, text="llama"), as_images),
    "internvl (qwen3)": Small(partial(internvl.build, text="qwen3"), as_images),
    "internvl_chat (internlm2)": Small(partial(internvl_chat.build, text="internlm2"), None),
    "internvl_chat (qwen2)": Small(partial(internvl_chat.build, text="qwen2"), None),
    "qwen2_5_vl": Small(qwen2_5_vl.build, as_spaced_video),
    "qwen3_vl": Small(qwen3_vl.build, as_dated_video),
    "llava_onevision": Small(llava_onevision.build, as_video),
}
