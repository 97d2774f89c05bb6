"""InternVL in the native form of transformers (checkpoints named ...-hf).

The preparation is our own, because the library's needs torchvision: one tile per keyframe, resized
as uint8 by Pillow (bicubic, antialiased), and the prompt in the form of a video message,
"Frame1: <image>" per line, through the checkpoint's chat template.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cache.errors import ConfigError
from stages.backbones.capture import LastPositions
from stages.backbones.contract import Explanation, Prepared, Prompt

_TOKENS = {
    "context_image_token": "<IMG_CONTEXT>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
}


class InternVL:
    """One loaded InternVL checkpoint behind the Backbone contract."""

    model_type = "internvl"

    def __init__(self, folder: Path, dtype: str, attention: str, device: str) -> None:
        self._model = _load_model(folder, dtype, attention).to(device)
        self._device = torch.device(device)
        self._tokenizer = _load_tokenizer(folder)
        config = self._model.config
        self.layers = int(config.text_config.num_hidden_layers)
        self.dim = int(config.text_config.hidden_size)
        self.dtype = dtype
        height, width = (int(n) for n in config.vision_config.image_size)
        self._size = (height, width)
        self._table = _normalisation(folder, self._size)
        rows, columns = (int(n) for n in config.vision_config.patch_size)
        patches = (height // rows) * (width // columns)
        self._tokens_per_frame = round(patches * float(config.downsample_ratio) ** 2)
        self._image_id = int(config.image_token_id)
        self._prompts: dict[tuple[Prompt, int], tuple[str, NDArray[np.int64]]] = {}
        # Hooks belong to the model: two passes at once would mix their states.
        self._lock = threading.Lock()

    def prepare(self, keyframes: Sequence[NDArray[np.uint8]], prompt: Prompt) -> Prepared:
        """Make keyframes (RGB, each [height, width, 3]) and prompt into one input of the model."""
        if not keyframes:
            raise ValueError("a segment has at least one keyframe")
        text, ids = self._tokenized(prompt, len(keyframes))
        pixels = np.stack([self._pixels(frame) for frame in keyframes])
        return Prepared(pixels, ids, text)

    def states(self, batch: Sequence[Prepared]) -> torch.Tensor:
        """Hidden states at the last prompt position, [segments, layers + 1, dim]."""
        ids, pixels = self._inputs(batch)
        with (
            self._lock,
            torch.inference_mode(),
            LastPositions(self._model.get_decoder()) as positions,
        ):
            self._model.model(input_ids=ids, pixel_values=pixels, use_cache=False)
            return positions.stacked()

    def explain(
        self,
        keyframes: Sequence[NDArray[np.uint8]],
        prompt: Prompt,
        seed: int,
        max_new_tokens: int,
    ) -> Explanation:
        """Answer the prompt about the keyframes by greedy decoding."""
        ids, pixels = self._inputs([self.prepare(keyframes, prompt)])
        devices = [self._device] if self._device.type == "cuda" else []
        with self._lock, torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            output = self._model.generate(
                input_ids=ids,
                pixel_values=pixels,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                **self._greedy(),
            )
        new = output[0, ids.shape[1] :].tolist()
        ended = bool(new) and new[-1] in self._stop_ids()
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        return Explanation(text.strip(), "stop" if ended else "length", len(new))

    def _inputs(self, batch: Sequence[Prepared]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = {len(item.token_ids) for item in batch}
        if len(lengths) != 1:
            raise ValueError(f"a batch holds inputs of one length, these have {sorted(lengths)}")
        ids = torch.from_numpy(np.stack([item.token_ids for item in batch]))
        pixels = torch.from_numpy(np.concatenate([item.pixels for item in batch]))
        return ids.to(self._device), pixels.to(self._device)

    def _pixels(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One frame as [3, height, width], equal to the library's Pillow processor."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"a keyframe is uint8 [height, width, 3], got {frame.dtype} {list(frame.shape)}"
            )
        height, width = self._size
        small = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        values = np.asarray(small)
        return np.stack([self._table[channel][values[..., channel]] for channel in range(3)])

    def _tokenized(self, prompt: Prompt, frames: int) -> tuple[str, NDArray[np.int64]]:
        """The prompt's text and its token ids; the same for all segments of a run."""
        if (prompt, frames) not in self._prompts:
            image = self._token("context_image_token")
            text = self._templated(prompt, frames, image)
            bos = self._tokenizer.bos_token
            special = bos is None or not text.startswith(bos)
            expanded = text.replace(image, image * self._tokens_per_frame)
            encoded = self._tokenizer(expanded, add_special_tokens=special)["input_ids"]
            ids = np.asarray(encoded, dtype=np.int64)
            expected = frames * self._tokens_per_frame
            found = int((ids == self._image_id).sum())
            if found != expected or ids[-1] == self._image_id:
                raise ConfigError(
                    f"the prompt came out with {found} image tokens, expected {expected} for "
                    f"{frames} keyframes and text after them: the question and the system message "
                    f"must not hold {image}, and the checkpoint's tokenizer must know it"
                )
            self._prompts[prompt, frames] = (text, ids)
        return self._prompts[prompt, frames]

    def _templated(self, prompt: Prompt, frames: int, image: str) -> str:
        one = self._token("start_image_token") + image + self._token("end_image_token")
        shown = "".join(f"Frame{number}: {one}\n" for number in range(1, frames + 1))
        messages = [_message("user", shown + prompt.question)]
        if prompt.system:
            messages.insert(0, _message("system", prompt.system))
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def _token(self, name: str) -> str:
        return str(getattr(self._tokenizer, name, None) or _TOKENS[name])

    def _greedy(self) -> dict[str, Any]:
        """Settings of generate for greedy decoding; sampling settings of the checkpoint are off."""
        stop = self._stop_ids()
        pad = self._tokenizer.pad_token_id
        return {
            "do_sample": False,
            "num_beams": 1,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "eos_token_id": stop or None,
            "pad_token_id": pad if pad is not None else (stop[0] if stop else 0),
        }

    def _stop_ids(self) -> list[int]:
        found = self._model.generation_config.eos_token_id
        if found is None:
            found = self._tokenizer.eos_token_id
        if found is None:
            return []
        return [int(n) for n in found] if isinstance(found, (list, tuple)) else [int(found)]


@contextmanager
def quiet_progress() -> Iterator[None]:
    """Keep the library's own progress bars off the terminal, where ours are."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _load_model(folder: Path, dtype: str, attention: str) -> Any:
    """The model in evaluation mode on the CPU; ConfigError where the weights do not fit."""
    from transformers import InternVLForConditionalGeneration

    with quiet_progress():
        model, report = InternVLForConditionalGeneration.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        # A tied head and rotary tables are stored by some releases and rebuilt from the rest.
        names = sorted(
            str(name)
            for name in report.get(what, ())
            if not str(name).endswith(("lm_head.weight", "rotary_emb.inv_freq"))
        )
        if names:
            raise ConfigError(
                f"backbone {folder.name}: {what.replace('_', ' ')} in the weights, {len(names)} in "
                f"all, the first {names[0]}: the checkpoint does not fit its config.json"
            )
    model.requires_grad_(False)
    return model.eval()


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.chat_template is None:
        # Older checkpoints keep the template in a file of its own, which only processors read.
        older = folder / "chat_template.json"
        if not older.is_file():
            raise ConfigError(
                f"backbone {folder.name} has no chat template (chat_template.jinja expected)"
            )
        tokenizer.chat_template = json.loads(older.read_text(encoding="utf-8"))["chat_template"]
    return tokenizer


def _normalisation(folder: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """What each byte of each channel becomes, [3, 256], by the checkpoint's preprocessor file."""
    settings = _preprocessor(folder)
    fixed = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "resample": int(Image.Resampling.BICUBIC),
        "size": {"height": size[0], "width": size[1]},
    }
    for name, expected in fixed.items():
        if settings.get(name, expected) != expected:
            raise ConfigError(
                f"backbone {folder.name}: the preprocessor has {name} = {settings[name]}, "
                f"only {expected} is supported"
            )
    try:
        mean = np.asarray(settings["image_mean"], dtype=np.float32)
        std = np.asarray(settings["image_std"], dtype=np.float32)
    except KeyError as error:
        raise ConfigError(f"backbone {folder.name}: the preprocessor has no {error}") from error
    # The order of roundings is the library's: product in float64, the rest in float32.
    scaled = np.arange(256, dtype=np.float64) * float(settings.get("rescale_factor", 1 / 255))
    table = (scaled.astype(np.float32)[:, None] - mean) / std
    return np.ascontiguousarray(table.T)


def _preprocessor(folder: Path) -> dict[str, Any]:
    """Settings of the image preprocessor, from whichever file the checkpoint has."""
    own = folder / "preprocessor_config.json"
    if own.is_file():
        settings = json.loads(own.read_text(encoding="utf-8"))
    else:
        joint = folder / "processor_config.json"
        whole = json.loads(joint.read_text(encoding="utf-8")) if joint.is_file() else {}
        settings = whole.get("image_processor")
    if not isinstance(settings, dict):
        raise ConfigError(
            f"backbone {folder.name} has no image preprocessor (preprocessor_config.json expected)"
        )
    return settings
