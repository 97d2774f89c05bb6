"""InternVL: the same inputs as the library's processor, and states that do not depend on batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor

from cache.errors import ConfigError
from stages.backbones.contract import Explanation, Prompt
from stages.backbones.internvl import InternVL

Clip = list[NDArray[np.uint8]]
PROMPT = Prompt("", "Describe the video, briefly: was it abnormal? äß 异常")


class PictureProcessor(InternVLProcessor):
    """The library's processor without its video part, which cannot be loaded without torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]

    def check_argument_for_proper_class(self, name: str, argument: Any) -> type[Any]:
        return type(argument)


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> InternVLProcessor:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return PictureProcessor(
        image_processor=GotOcr2ImageProcessorPil.from_pretrained(checkpoint),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )


def library_message(prompt: Prompt, frames: int) -> list[dict[str, Any]]:
    content: list[dict[str, str]] = []
    for number in range(1, frames + 1):
        content += [{"type": "text", "text": f"Frame{number}: "}, {"type": "image"}]
    content.append({"type": "text", "text": prompt.question})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return messages


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (720, 1280), (37, 201), (64, 64)])
@pytest.mark.parametrize("prompt", [PROMPT, Prompt("You watch cameras.", "What is there?")])
def test_inputs_equal_the_librarys_processor(
    backbone: InternVL, processor: InternVLProcessor, size: tuple[int, int], prompt: Prompt
) -> None:
    generator = np.random.default_rng(sum(size))
    frames = list(generator.integers(0, 256, (3, *size, 3), dtype=np.uint8))
    text = processor.apply_chat_template(library_message(prompt, 3), add_generation_prompt=True)
    theirs = processor(images=frames, text=[text], crop_to_patches=False)
    ours = backbone.prepare(frames, prompt)
    assert ours.token_ids.tolist() == theirs["input_ids"][0]
    assert ours.text == text.replace("<IMG_CONTEXT>", "<img><IMG_CONTEXT></img>")
    pixels = np.stack(theirs["pixel_values"])
    assert ours.pixels.dtype == pixels.dtype == np.float32
    assert float(np.abs(ours.pixels - pixels).max()) == 0.0


def test_the_prompt_is_that_of_a_video_message(
    backbone: InternVL, processor: InternVLProcessor, clips: list[Clip]
) -> None:
    content = [{"type": "video"}, {"type": "text", "text": PROMPT.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    shown = {"pixel_values_videos": np.zeros((1, 8, 3, 64, 64))}
    expanded = text.replace("<video>", processor.replace_video_token(shown, 0))
    ids = processor.tokenizer(expanded)["input_ids"]
    assert backbone.prepare(clips[0], PROMPT).token_ids.tolist() == ids


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_batch_equals_its_items_on_the_cpu(
    checkpoint: Path, clips: list[Clip], dtype: str
) -> None:
    backbone = InternVL(checkpoint, dtype, "sdpa", "cpu")
    prepared = [backbone.prepare(clip, PROMPT) for clip in clips]
    single = torch.cat([backbone.states([item]) for item in prepared])
    assert single.shape == (5, backbone.layers + 1, backbone.dim)
    assert single.dtype == getattr(torch, dtype)
    assert torch.equal(backbone.states(prepared), single)
    assert torch.equal(backbone.states(prepared[1:4]), single[1:4])


def test_states_depend_on_pictures_and_on_their_order(
    backbone: InternVL, clips: list[Clip]
) -> None:
    states = backbone.states(
        [backbone.prepare(clip, PROMPT) for clip in (clips[0], clips[0][::-1], clips[1])]
    )
    # Layer 0 is the embedding of the last token: the same vector for every clip.
    assert torch.equal(states[0, 0], states[2, 0])
    for layer in range(1, backbone.layers + 1):
        assert not torch.equal(states[0, layer], states[1, layer])
        assert not torch.equal(states[0, layer], states[2, layer])


def test_one_batch_has_one_length(backbone: InternVL, clips: list[Clip]) -> None:
    items = [backbone.prepare(clips[0], PROMPT), backbone.prepare(clips[0][:3], PROMPT)]
    with pytest.raises(ValueError, match="one length"):
        backbone.states(items)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_keyframe_is_an_rgb_picture(backbone: InternVL, frame: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        backbone.prepare([frame], PROMPT)


def test_a_segment_has_keyframes(backbone: InternVL) -> None:
    with pytest.raises(ValueError, match="at least one keyframe"):
        backbone.prepare([], PROMPT)


@pytest.mark.parametrize("field", ["question", "system"])
def test_image_tokens_in_a_prompt_are_refused(
    backbone: InternVL, clips: list[Clip], field: str
) -> None:
    texts = {"system": "", "question": "What?"} | {field: "Is <IMG_CONTEXT> abnormal?"}
    with pytest.raises(ConfigError, match="IMG_CONTEXT"):
        backbone.prepare(clips[0], Prompt(**texts))


def test_explain_is_greedy_and_leaves_torchs_generator_alone(
    backbone: InternVL, clips: list[Clip]
) -> None:
    before = torch.random.get_rng_state()
    answers = [backbone.explain(clips[0], PROMPT, seed, 6) for seed in (0, 0, 7)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert answers[0] == answers[1] == answers[2]
    prepared = backbone.prepare(clips[0], PROMPT)
    ids = torch.from_numpy(prepared.token_ids)[None]
    pixels = torch.from_numpy(prepared.pixels)
    new: list[int] = []
    with torch.inference_mode():
        for _ in range(answers[0].tokens):
            logits = backbone._model(input_ids=ids, pixel_values=pixels, use_cache=False).logits
            new.append(int(logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([[new[-1]]])], dim=1)
    text = backbone._tokenizer.decode(new, skip_special_tokens=True).strip()
    assert answers[0] == Explanation(text, "length", 6)


def test_an_answer_that_ends_by_itself_says_stop(
    backbone: InternVL, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backbone._model.generate(
        input_ids=torch.from_numpy(backbone.prepare(clips[0], PROMPT).token_ids)[None],
        pixel_values=torch.from_numpy(backbone.prepare(clips[0], PROMPT).pixels),
        max_new_tokens=1,
        do_sample=False,
    )[0, -1]
    monkeypatch.setattr(backbone._model.generation_config, "eos_token_id", [int(first)])
    answer = backbone.explain(clips[0], PROMPT, 0, 6)
    assert (answer.finish_reason, answer.tokens) == ("stop", 1)


def changed(checkpoint: Path, folder: Path, name: str, **values: Any) -> Path:
    """A copy of the checkpoint with other values in one of its JSON files."""
    shutil.copytree(checkpoint, folder)
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))
    return folder


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": {"height": 448, "width": 448}}, "size"),
        ({"resample": 2}, "resample"),
        ({"do_normalize": False}, "do_normalize"),
    ],
)
def test_another_preprocessing_is_refused(
    checkpoint: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    folder = changed(checkpoint, tmp_path / "c", "preprocessor_config.json", **values)
    with pytest.raises(ConfigError, match=message):
        InternVL(folder, "float32", "sdpa", "cpu")


def test_weights_that_do_not_fit_the_configuration_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "c")
    content = json.loads((folder / "config.json").read_text())
    content["text_config"]["num_hidden_layers"] += 1
    content["text_config"]["layer_types"].append("full_attention")
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="missing keys"):
        InternVL(folder, "float32", "sdpa", "cpu")


@pytest.mark.parametrize("lost", ["chat_template.jinja", "preprocessor_config.json"])
def test_a_missing_file_is_named(checkpoint: Path, tmp_path: Path, lost: str) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "c")
    (folder / lost).unlink()
    with pytest.raises(ConfigError, match=lost):
        InternVL(folder, "float32", "sdpa", "cpu")


def test_older_places_of_template_and_preprocessor_are_read(
    checkpoint: Path, tmp_path: Path, backbone: InternVL, clips: list[Clip]
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "c")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    joint = {"image_processor": json.loads((folder / "preprocessor_config.json").read_text())}
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps(joint))
    ours = InternVL(folder, "float32", "sdpa", "cpu").prepare(clips[0], PROMPT)
    theirs = backbone.prepare(clips[0], PROMPT)
    np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
