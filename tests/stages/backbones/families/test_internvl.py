"""InternVL in its native layout: a line and a tile per keyframe, as the library's processor has it.

The library has two of them. The one that works on Pillow pictures, as the original InternVL code
did, is the one that hiprobe equals. The one on torch tensors, which the library takes by itself
where torchvision is installed, rounds otherwise: how much is measured here too.
"""

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
from stages.backbones.contract import Prompt
from stages.backbones.families.internvl import InternVL
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests import oracle
from tests.stages.backbones.checkpoints import internvl
from tests.stages.backbones.checkpoints.registry import as_images, frame_messages
from tests.stages.backbones.families.videos import PLAIN, SAID, Segment, given, segment

SIDE = internvl.SIDE
RELEASED = 448
"""The side of tiles in the released models."""
SIZES = ((240, 320), (320, 240), (720, 1280), (37, 201), (9, 900), (SIDE, SIDE))
SEGMENTS = [
    *(segment(size, 3, prompt=prompt) for size in SIZES for prompt in (PLAIN, SAID)),
    *(segment((211, 333), keyframes, prompt=SAID) for keyframes in (8, 1)),
]
ONE = segment((240, 320), 2)
ASKED = {
    "llama": [oracle.Request(oracle.video_messages(s.prompt), s.keyframes) for s in SEGMENTS],
    "qwen3": [oracle.Request(oracle.video_messages(s.prompt), s.keyframes) for s in SEGMENTS],
    "released": [as_images(ONE.prompt, ONE.keyframes, ONE.seconds)],
}
"""As a video, which the library resizes by torch; as images, by Pillow."""
STD = np.asarray(internvl.PICTURES["image_std"])[:, None, None]


class PictureProcessor(InternVLProcessor):  # type: ignore[misc]
    """The library's processor without its video part, which cannot be loaded without torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]

    def check_argument_for_proper_class(self, name: str, argument: Any) -> type[Any]:
        return type(argument)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small ones with two text models, and one with the tiles of the released models."""
    found = {name: tmp_path_factory.mktemp("checkpoint") / name for name in ASKED}
    internvl.build(found["llama"], text="llama")
    internvl.build(found["qwen3"], text="qwen3")
    internvl.build(found["released"], text="qwen2", side=RELEASED)
    return found


@pytest.fixture(scope="module")
def answers(folders: dict[str, Path]) -> dict[str, list[oracle.Answer]]:
    asked = [(folders[name], requests) for name, requests in ASKED.items()]
    return dict(zip(ASKED, oracle.ask_all(asked), strict=True))


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def folder(folders: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return folders[str(request.param)]


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Multimodal:
    return Multimodal(family_of(folder), "float32", "sdpa", "cpu")


@pytest.fixture(scope="module")
def processor(folder: Path) -> InternVLProcessor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return PictureProcessor(
        image_processor=GotOcr2ImageProcessorPil.from_pretrained(folder),
        tokenizer=tokenizer,
        image_seq_length=internvl.tokens_per_frame(SIDE),
        chat_template=tokenizer.chat_template,
    )


@pytest.mark.parametrize("number", range(len(SEGMENTS)))
def test_preparation_is_the_pillow_processors(
    backbone: Multimodal, processor: InternVLProcessor, number: int
) -> None:
    asked = SEGMENTS[number]
    messages = frame_messages(asked.prompt, len(asked.keyframes))
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    theirs = processor(images=list(asked.keyframes), text=[text], crop_to_patches=False)
    item = asked.prepared(backbone)
    assert item.texts[0] == text.replace("<IMG_CONTEXT>", "<img><IMG_CONTEXT></img>")
    ours = given(backbone, item)
    assert ours["input_ids"].tolist() == theirs["input_ids"]
    pixels = np.stack(theirs["pixel_values"])
    assert pixels.dtype == np.float32
    assert float(np.abs(ours["pixel_values"].numpy() - pixels).max()) == 0.0


def levels(backbone: Multimodal, asked: Segment, answer: oracle.Answer) -> NDArray[np.float64]:
    """How far each value of the pixels differs from the library's, in levels of 0 to 255."""
    ours = given(backbone, asked.prepared(backbone))
    assert set(ours) == set(answer.arrays)
    np.testing.assert_array_equal(ours["input_ids"], answer.arrays["input_ids"])
    np.testing.assert_array_equal(ours["attention_mask"], answer.arrays["attention_mask"])
    difference = np.abs(ours["pixel_values"].numpy() - answer.arrays["pixel_values"])
    found: NDArray[np.float64] = difference * STD * 255
    return found


def test_the_prompt_is_that_of_a_video_and_its_own_resizing_differs_little(
    backbone: Multimodal, folder: Path, answers: dict[str, list[oracle.Answer]]
) -> None:
    """Beside the processor that the library takes by itself, given the keyframes as a video."""
    for asked, answer in zip(SEGMENTS, answers[folder.name], strict=True):
        found = levels(backbone, asked, answer)
        if asked.keyframes.shape[1:3] == (SIDE, SIDE):
            assert found.max() < 1e-4
        else:
            assert found.max() < 3
            # Some do differ: else there would be no choice to make.
            assert 0 < float((found > 0.5).mean()) < 0.01


def test_the_released_side_has_256_tokens_a_frame(
    folders: dict[str, Path], answers: dict[str, list[oracle.Answer]]
) -> None:
    backbone = Multimodal(family_of(folders["released"]), "float32", "sdpa", "cpu")
    ids = ONE.prepared(backbone).token_ids[0]
    assert int(np.isin(ids, backbone._family.visual_ids).sum()) == 2 * 256
    assert levels(backbone, ONE, answers["released"][0]).max() == 0.0


def test_a_beginning_token_that_the_template_leaves_out_is_added_once(folder: Path) -> None:
    family = InternVL(folder)
    ids = family.encode(family.text(PLAIN, 1, [0.0]))
    start = family.tokenizer.convert_tokens_to_ids("<s>")
    assert (ids == start).sum() == (1 if folder.name == "llama" else 0)
    assert (ids[0] == start) == (folder.name == "llama")


def test_a_batch_is_its_segments_one_after_the_other(backbone: Multimodal) -> None:
    items = [segment(seed=n).prepared(backbone) for n in range(3)]
    shown = torch.stack([torch.from_numpy(item.pictures) for item in items])
    together = backbone._family.visual_inputs(shown, [item.seconds for item in items])
    parts = torch.cat([given(backbone, item)["pixel_values"] for item in items])
    assert together["pixel_values"].shape == (24, 3, SIDE, SIDE)
    assert torch.equal(together["pixel_values"], parts)


# --- the frame format ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("", "Frame1: <img><IMG_CONTEXT></img>\nFrame2: <img><IMG_CONTEXT></img>\n"),
        ("{image}\n", "<img><IMG_CONTEXT></img>\n<img><IMG_CONTEXT></img>\n"),
        (
            "<{number}/{number}>{image}",
            "<1/1><img><IMG_CONTEXT></img><2/2><img><IMG_CONTEXT></img>",
        ),
        (
            "Bild {number} {{x}}: {image};",
            "Bild 1 {{x}}: <img><IMG_CONTEXT></img>;Bild 2 {{x}}: <img><IMG_CONTEXT></img>;",
        ),
    ],
)
def test_the_frame_format_says_how_a_keyframe_stands(folder: Path, form: str, shown: str) -> None:
    text = InternVL(folder).text(Prompt("", "What is {image} {number}?", form), 2, [0.0, 0.1])
    assert text == (
        f"<|im_start|>user\n{shown}What is {{image}} {{number}}?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_frame_format_changes_tokens_and_not_pictures(backbone: Multimodal) -> None:
    frames = list(segment().keyframes)
    seconds = [0.1 * n for n in range(8)]
    forms = ("", "{image}\n", "Frame{number}: {image}\n")
    items = [backbone.prepare(frames, seconds, [Prompt("", "What?", form)]) for form in forms]
    visual = [np.isin(item.token_ids[0], backbone._family.visual_ids).sum() for item in items]
    assert len(set(visual)) == 1
    assert items[0].token_ids[0].tolist() == items[2].token_ids[0].tolist()
    assert len(items[1].token_ids[0]) == len(items[0].token_ids[0]) - 8 * len("Frame1: ")
    np.testing.assert_array_equal(items[0].pictures, items[1].pictures)


def test_a_frame_format_without_pictures_is_refused(backbone: Multimodal) -> None:
    frames = list(segment().keyframes)
    with pytest.raises(ConfigError, match="0 visual tokens"):
        backbone.prepare(frames, [0.0] * 8, [Prompt("", "What?", "Frame{number}\n")])


@pytest.mark.parametrize("word", ["<IMG_CONTEXT>", "<img>", "</img>"])
@pytest.mark.parametrize(
    ("what", "prompt"),
    [
        ("question", lambda word: Prompt("", f"Is {word} abnormal?")),
        ("system message", lambda word: Prompt(f"See {word}.", "What?")),
        ("frame format", lambda word: Prompt("", "What?", f"{word}{{image}}")),
    ],
)
def test_words_that_stand_for_pictures_are_refused(
    folder: Path, word: str, what: str, prompt: Any
) -> None:
    with pytest.raises(ConfigError, match=f"the {what} holds {word}"):
        InternVL(folder).text(prompt(word), 2, [0.0, 0.1])


# --- files ---------------------------------------------------------------------------------------


def changed(folder: Path, target: Path, name: str, **values: Any) -> Path:
    """A copy of the checkpoint with other values in one of its JSON files."""
    shutil.copytree(folder, target)
    path = target / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": {"height": 448, "width": 448}}, "size"),
        ({"resample": 2}, "resample = 2, only 3"),
        ({"do_normalize": False}, "do_normalize = False"),
    ],
)
def test_another_preprocessing_is_refused(
    folder: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    other = changed(folder, tmp_path / "c", "preprocessor_config.json", **values)
    with pytest.raises(ConfigError, match=message):
        InternVL(other)


def test_weights_that_do_not_fit_the_configuration_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    text["num_hidden_layers"] += 1
    if "layer_types" in text:
        text["layer_types"].append("full_attention")
    family = InternVL(changed(folder, tmp_path / "c", "config.json", text_config=text))
    with pytest.raises(ConfigError, match="missing keys"):
        family.load_model("float32", "sdpa")


@pytest.mark.parametrize("lost", ["chat_template.jinja", "preprocessor_config.json"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, lost: str) -> None:
    other = shutil.copytree(folder, tmp_path / "c")
    (other / lost).unlink()
    with pytest.raises(ConfigError, match=lost):
        InternVL(other)


def test_other_places_of_template_and_preprocessor_are_read(
    folder: Path, tmp_path: Path, backbone: Multimodal
) -> None:
    other = shutil.copytree(folder, tmp_path / "c")
    template = (other / "chat_template.jinja").read_text()
    (other / "chat_template.jinja").unlink()
    (other / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    joint = {"image_processor": json.loads((other / "preprocessor_config.json").read_text())}
    (other / "preprocessor_config.json").unlink()
    (other / "processor_config.json").write_text(json.dumps(joint))
    moved = Multimodal(family_of(other), "float32", "sdpa", "cpu")
    ours, theirs = (given(each, segment().prepared(each)) for each in (moved, backbone))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
