"""The library's own processors, asked in a process of their own.

Most of them need torchvision, of which no build matches the CPU torch: its compiled part does not
load. Its Python part works once the two operators that it looks for at import are declared, and
that is all that processors use. `make oracle` puts it alone into a folder beside the sources. It is
imported in another process, because transformers decides once per process what is available: tests
of the project must see what the project sees, which is no torchvision.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.backbones.contract import Prompt

ROOT = Path(__file__).parent.parent
INSTALLED = ROOT / ".oracle"
REASON = "the library's processors need torchvision's Python files: run `make oracle`"
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """One conversation with one segment in it."""

    messages: Messages
    frames: NDArray[np.uint8]
    """[keyframes, height, width, 3]."""
    shown: Literal["video", "images"] = "video"
    """All of them as one video, or each as an image."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the processor, as JSON can hold them (video_metadata as a list of one
    dict, do_sample_frames, ...)."""
    pillow: bool = False
    """Images by the library's Pillow processor; by itself it takes the torchvision one."""


@dataclass(frozen=True)
class Answer:
    """What the library's processor made of a request."""

    text: str
    """After the chat template, before visual tokens are repeated."""
    arrays: Mapping[str, NDArray[Any]]
    """Everything it returned (input_ids, pixel_values, ...), by name."""


def available() -> bool:
    """Whether `make oracle` has been run."""
    return (INSTALLED / "torchvision").is_dir()


def video_messages(prompt: Prompt) -> Messages:
    """The conversation that shows one video and then asks the question."""
    content = [{"type": "video"}, {"type": "text", "text": prompt.question}]
    messages: Messages = [{"role": "user", "content": content}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return messages


def ask(checkpoint: Path, requests: Sequence[Request]) -> list[Answer]:
    """The library's answers, in order: one process for all, which takes seconds to start.

    Skips the test where the oracle is not installed.
    """
    return ask_all([(checkpoint, requests)])[0]


def ask_all(asked: Sequence[tuple[Path, Sequence[Request]]]) -> list[list[Answer]]:
    """The same for several checkpoints, in one process."""
    if not available():
        pytest.skip(REASON)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_requests(folder, asked)
        done = subprocess.run(
            [sys.executable, "-m", "tests.oracle", str(folder)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(INSTALLED)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the oracle failed:\n{done.stdout}{done.stderr}")
        answers = iter(_read_answers(folder, sum(len(requests) for _, requests in asked)))
        return [[next(answers) for _ in requests] for _, requests in asked]


def _write_requests(folder: Path, asked: Sequence[tuple[Path, Sequence[Request]]]) -> None:
    every = [(checkpoint, request) for checkpoint, requests in asked for request in requests]
    np.savez(folder / "frames.npz", *(request.frames for _, request in every))
    words = [
        {
            "checkpoint": str(checkpoint),
            "messages": each.messages,
            "shown": each.shown,
            "options": dict(each.options),
            "pillow": each.pillow,
        }
        for checkpoint, each in every
    ]
    (folder / "requests.json").write_text(json.dumps(words), encoding="utf-8")


def _read_answers(folder: Path, count: int) -> list[Answer]:
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    arrays: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
    with np.load(folder / "arrays.npz") as stored:
        for key in stored.files:
            number, _, name = key.partition(".")
            arrays[int(number)][name] = stored[key]
    return [Answer(text, found) for text, found in zip(texts, arrays, strict=True)]


def _answer_all(folder: Path) -> None:
    """The other process: answer every request in the folder."""
    _declare_operators()
    requests = json.loads((folder / "requests.json").read_text(encoding="utf-8"))
    texts: list[str] = []
    arrays: dict[str, Any] = {}
    with np.load(folder / "frames.npz") as stored:
        for number, request in enumerate(requests):
            processor = _processor(request["checkpoint"], request["pillow"])
            frames = list(stored[f"arr_{number}"])
            visuals = {"videos": [frames]} if request["shown"] == "video" else {"images": frames}
            text = processor.apply_chat_template(request["messages"], add_generation_prompt=True)
            options = {"return_tensors": "pt", **request["options"]}
            found = processor(text=[text], **visuals, **options)
            texts.append(text)
            arrays |= {f"{number}.{name}": np.asarray(value) for name, value in found.items()}
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    np.savez(folder / "arrays.npz", **arrays)


@cache
def _processor(checkpoint: str, pillow: bool) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint, local_files_only=True)
    if pillow:
        processor.image_processor = AutoImageProcessor.from_pretrained(
            checkpoint, backend="pil", local_files_only=True
        )
    return processor


def _declare_operators() -> None:
    """Declare what torchvision's compiled part would bring; processors never call it."""
    import torch

    declaring: Any = torch.library  # it is without types
    library = declaring.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import_module("torchvision")  # while the declarations live


if __name__ == "__main__":
    _answer_all(Path(sys.argv[1]))
