"""InternVL in its original layout: the numbers of its published arithmetic, and none of its code."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones.contract import Explanation, Prompt, Wanted
from stages.backbones.families import internvl_chat_weights
from stages.backbones.families.internvl_chat import TEMPLATES, InternVLChat
from stages.backbones.identity import identify, resolve, resolved_dtype
from stages.backbones.load import forget, load
from stages.backbones.multimodal import Multimodal
from stages.backbones.reference import BackboneReference
from tests.stages.backbones.checkpoints.internvl_chat import CODE, Text, build
from tests.stages.backbones.families import internvl_chat_naive as naive

PROMPT = Prompt("", "What is the man doing? äß 异常")
SECONDS = (0.0, 0.5, 1.0)
LAYERS = 4
ALL = Wanted(tuple(range(LAYERS + 1)), whole_heads=True)
KINDS = ("internlm2-300M", "internlm2-6B", "qwen2-300M", "qwen2-6B")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small checkpoints with both text models and both vision models."""
    root = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        text, vision = kind.split("-")
        build(root / kind, text=text, vision=vision)  # type: ignore[arg-type]
    return {kind: root / kind for kind in KINDS}


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["internlm2-300M"]


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(5).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8))


def backbone_of(folder: Path, dtype: str = "float32", attention: str = "eager") -> Multimodal:
    return Multimodal(InternVLChat(folder), dtype, attention, "cpu")


def reference(folder: Path, ids: NDArray[np.int64], pictures: NDArray[np.uint8]) -> naive.Computed:
    weights, config = naive.read(folder)
    pixels = naive.pixel_values(torch.from_numpy(pictures))
    with torch.inference_mode():
        image = InternVLChat(folder).visual_ids[0]
        return naive.forward(weights, config, torch.from_numpy(ids), pixels, image)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def changed(folder: Path, copy: Path, name: str, **values: Any) -> Path:
    """A copy of the checkpoint with other values in one of its JSON files."""
    shutil.copytree(folder, copy)
    content = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**content, **values}))
    return copy


# --- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_heads_are_those_of_the_published_arithmetic(
    folders: dict[str, Path], frames: list[NDArray[np.uint8]], kind: str, attention: str
) -> None:
    backbone = backbone_of(folders[kind], attention=attention)
    prepared = backbone.prepare(frames, SECONDS, [PROMPT])
    found = backbone.forward([prepared], ALL)
    expected = reference(folders[kind], prepared.token_ids[0], prepared.pictures)
    for layer, states in enumerate(expected.states):
        assert relative(found.states[0, 0, layer], states[-1]) <= 1e-5
    for layer, heads in enumerate(expected.heads):
        assert relative(found.heads[0, 0, layer], heads[-1].flatten()) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_every_position_and_the_logits_are_those_of_the_published_arithmetic(
    folders: dict[str, Path], frames: list[NDArray[np.uint8]], kind: str
) -> None:
    family = InternVLChat(folders[kind])
    model = family.load_model("float32", "sdpa")
    shown = family.resize(frames)
    ids = family.encode(family.expand(family.text(PROMPT, 3, SECONDS), shown.shape, SECONDS))
    visual = family.visual_inputs(torch.from_numpy(shown)[None], [SECONDS])
    with torch.inference_mode():
        out = model(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True, **visual)
    expected = reference(folders[kind], ids, shown)
    for layer in range(LAYERS):
        assert relative(out.hidden_states[layer][0], expected.states[layer]) <= 1e-5
    assert relative(out.logits[0], expected.logits) <= 1e-5


def test_several_prompts_are_each_what_they_are_alone(
    folder: Path, frames: list[NDArray[np.uint8]]
) -> None:
    backbone = backbone_of(folder, attention="sdpa")
    prompts = [Prompt("You watch a camera.", f"Is there {what}?") for what in ("fire", "a fight")]
    prepared = backbone.prepare(frames, SECONDS, prompts)
    found = backbone.forward([prepared, prepared], ALL).states
    for number, ids in enumerate(prepared.token_ids):
        expected = reference(folder, ids, prepared.pictures).states
        for layer, states in enumerate(expected):
            assert relative(found[1, number, layer], states[-1]) <= 1e-5


def test_queries_that_are_not_taken_out_of_their_groups_would_be_noticed(
    folder: Path, frames: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_after_the_other(*given: Any) -> list[torch.Tensor]:
        return list(torch.split(given[-1], [64, 32, 32]))

    right = backbone_of(folder)
    monkeypatch.setattr(internvl_chat_weights, "_groups", one_after_the_other)
    wrong = backbone_of(folder)
    prepared = right.prepare(frames, SECONDS, [PROMPT])
    one, other = (each.forward([prepared], ALL).states[0, 0] for each in (right, wrong))
    assert torch.equal(one[0], other[0])
    assert all(relative(other[layer], one[layer]) > 0.1 for layer in range(1, LAYERS + 1))


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rotary_tables_are_right_and_exact_in_every_dtype(
    folders: dict[str, Path], text: Text, dtype: str
) -> None:
    folder = folders[f"{text}-300M"]
    rotary = InternVLChat(folder).load_model(dtype, "sdpa").model.language_model.rotary_emb
    expected = naive.inverse_frequencies(naive.read(folder)[1]["llm_config"])
    assert rotary.inv_freq.dtype == torch.float32
    assert torch.equal(rotary.inv_freq, expected)
    places = torch.arange(32768)
    cos, sin = rotary(torch.zeros(1, 1), places[None])
    angles = torch.outer(places.double(), expected.double()).repeat(1, 2)
    assert float((cos[0] - angles.cos()).abs().max()) < 4e-3
    assert float((sin[0] - angles.sin()).abs().max()) < 4e-3


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
def test_bfloat16_is_the_published_arithmetic_in_bfloat16(
    folders: dict[str, Path], frames: list[NDArray[np.uint8]], text: Text
) -> None:
    folder = folders[f"{text}-300M"]
    backbone = backbone_of(folder, "bfloat16")
    prepared = backbone.prepare(frames, SECONDS, [PROMPT])
    found = backbone.forward([prepared], ALL).states[0, 0].float()
    weights, config = naive.read(folder, torch.bfloat16)
    pixels = naive.pixel_values(torch.from_numpy(prepared.pictures))
    ids = torch.from_numpy(prepared.token_ids[0])
    with torch.inference_mode():
        image = InternVLChat(folder).visual_ids[0]
        states = naive.forward(weights, config, ids, pixels, image).states
    assert all(relative(found[n], each[-1].float()) <= 0.02 for n, each in enumerate(states))


# --- no code of the checkpoint -------------------------------------------------------------------


@pytest.fixture
def reference_of(folder: Path) -> Iterator[BackboneReference]:
    yield BackboneReference(str(folder), "", "auto", "sdpa", "cpu", "")
    forget()


def test_no_code_of_the_checkpoint_is_run(folder: Path, reference_of: BackboneReference) -> None:
    for name in CODE:
        with pytest.raises(SystemExit, match=name):
            runpy.run_path(str(folder / name))
    before = set(sys.modules)
    found = load(reference_of)
    assert (found.model_type, found.layers, found.dim, found.dtype) == (
        "internvl_chat",
        LAYERS,
        64,
        "float32",
    )
    assert type(found._model).__module__ == "transformers.models.internvl.modeling_internvl"  # type: ignore[attr-defined]
    assert not [name for name in set(sys.modules) - before if "transformers_modules" in name]


# --- the prompt ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["internlm2-300M", "qwen2-300M"])
def test_the_prompt_has_a_line_per_keyframe_and_no_system_message(
    folders: dict[str, Path], kind: str
) -> None:
    assert InternVLChat(folders[kind]).text(Prompt("", "What?"), 2, (0.0, 1.0)) == (
        "<|im_start|>user\nFrame1: <img><IMG_CONTEXT></img>\nFrame2: <img><IMG_CONTEXT></img>\n"
        "What?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("name", "end"),
    [("internvl2_5", "<|im_end|>\n"), ("internlm2-chat", "<|im_end|>"), ("Hermes-2", "<|im_end|>")],
)
def test_with_its_system_message_the_prompt_is_the_originals(
    folder: Path, tmp_path: Path, name: str, end: str
) -> None:
    family = InternVLChat(changed(folder, tmp_path / "c", "config.json", template=name))
    system = TEMPLATES[name].system
    assert "InternVL" in system
    turns = [
        f"<|im_start|>system\n{system}",
        "<|im_start|>user\nFrame1: <img><IMG_CONTEXT></img>\nWhat?",
        "<|im_start|>assistant\n",
    ]
    assert family.text(Prompt(system, "What?"), 1, (0.0,)) == end.join(turns)


def test_frames_may_be_shown_in_another_form(folder: Path) -> None:
    text = InternVLChat(folder).text(Prompt("", "What?", "<{number}>{image};"), 2, (0.0, 1.0))
    shown = "<1><img><IMG_CONTEXT></img>;<2><img><IMG_CONTEXT></img>;What?"
    assert text == f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"


def test_internlm2_ids_begin_with_the_beginning_token(
    folder: Path, frames: list[NDArray[np.uint8]]
) -> None:
    backbone = backbone_of(folder)
    ids = backbone.prepare(frames, SECONDS, [PROMPT]).token_ids[0]
    family = InternVLChat(folder)
    one = {token: family.tokenizer.convert_tokens_to_ids(token) for token in ("<img>", "</img>")}
    assert (ids[0], ids[1]) == (1, family.tokenizer.convert_tokens_to_ids("<|im_start|>"))
    # A tile of 4 x 4 patches, of which four make one token, between its two marks.
    places = np.flatnonzero(ids == family.visual_ids[0])
    assert len(places) == 3 * 4
    for first in places[::4]:
        assert (ids[first - 1], ids[first + 4]) == (one["<img>"], one["</img>"])


def test_qwen2s_tokenizer_reads_vocabulary_and_merges(folders: dict[str, Path]) -> None:
    folder = folders["qwen2-300M"]
    family = InternVLChat(folder)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    added = json.loads((folder / "added_tokens.json").read_text())
    ids = family.encode("the <IMG_CONTEXT></img>t<|im_end|>\n")
    expected = [vocabulary["the"], vocabulary["Ġ"], added["<IMG_CONTEXT>"], added["</img>"]]
    assert ids.tolist() == [*expected, vocabulary["t"], added["<|im_end|>"], vocabulary["Ċ"]]
    assert family.decode(ids.tolist()) == "the t\n"


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (720, 1280), (37, 201), (56, 56)])
def test_pictures_are_one_tile_each_resized_and_normalised_as_published(
    folder: Path, size: tuple[int, int]
) -> None:
    from PIL import Image

    family = InternVLChat(folder)
    frames = np.random.default_rng(sum(size)).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    shown = family.resize(list(frames))
    tiles = [Image.fromarray(f).resize((56, 56), Image.Resampling.BICUBIC) for f in frames]
    assert np.array_equal(shown, np.stack([np.asarray(tile) for tile in tiles]))
    found = family.visual_inputs(torch.from_numpy(shown)[None], [(0.0, 1.0)])["pixel_values"]
    assert torch.equal(found, naive.pixel_values(torch.from_numpy(shown)))


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["internlm2-300M", "qwen2-300M"])
def test_an_answer_is_greedy(
    folders: dict[str, Path], frames: list[NDArray[np.uint8]], kind: str
) -> None:
    backbone = backbone_of(folders[kind])
    prepared = backbone.prepare(frames, SECONDS, [PROMPT])
    ids = prepared.token_ids[0]
    for _ in range(5):
        logits = reference(folders[kind], ids, prepared.pictures).logits
        ids = np.append(ids, int(logits[-1].argmax()))
    new = [int(number) for number in ids[-5:]]
    text = InternVLChat(folders[kind]).decode(new).strip()
    assert backbone.explain([prepared], 0, 5) == [Explanation(text, "length", 5)]


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
def test_an_answer_ends_at_the_end_of_a_message_and_of_a_text(
    folders: dict[str, Path], text: Text
) -> None:
    family = InternVLChat(folders[f"{text}-300M"])
    stop = family.load_model("float32", "sdpa").generation_config.eos_token_id
    names = {
        "internlm2": ["<|im_end|>", "<|im_start|>", "</s>"],
        "qwen2": ["<|im_end|>", "<|endoftext|>"],
    }
    assert stop == [family.tokenizer.convert_tokens_to_ids(name) for name in names[text]]


def test_an_answer_stops_at_a_token_of_the_generation_settings(
    folder: Path, tmp_path: Path, frames: list[NDArray[np.uint8]]
) -> None:
    prepared = backbone_of(folder).prepare(frames, SECONDS, [PROMPT])
    logits = reference(folder, prepared.token_ids[0], prepared.pictures).logits
    first = int(logits[-1].argmax())
    copy = changed(folder, tmp_path / "c", "generation_config.json", eos_token_id=first)
    (answer,) = backbone_of(copy).explain([prepared], 0, 5)
    assert (answer.finish_reason, answer.tokens) == ("stop", 1)


# --- the checkpoint ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["internlm2-300M", "qwen2-300M"])
def test_identity_covers_every_file_that_is_read(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "c")
    first = identify(str(copy), "", "auto", "sdpa", {})
    for path in sorted(copy.iterdir()):
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        same = identify(str(copy), "", "auto", "sdpa", {}) == first
        assert same == (path.suffix == ".py"), path.name
        path.write_bytes(before)


def test_the_text_models_dtype_counts_where_config_json_names_no_other(
    folder: Path, tmp_path: Path
) -> None:
    copy = changed(folder, tmp_path / "c", "config.json", torch_dtype=None)
    assert resolved_dtype(copy, "auto") == "float32"
    assert resolve(str(copy), "", download=False) == copy


def test_another_template_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = changed(folder, tmp_path / "c", "config.json", template="phi3-chat")
    with pytest.raises(ConfigError, match="'phi3-chat', expected one of Hermes-2, internlm2-chat"):
        InternVLChat(copy)


@pytest.mark.parametrize("token", ["<IMG_CONTEXT>", "<|im_end|>"])
@pytest.mark.parametrize("kind", ["internlm2-300M", "qwen2-300M"])
def test_a_tokenizer_without_a_needed_token_is_refused(
    folders: dict[str, Path], tmp_path: Path, kind: str, token: str
) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "c")
    for name in ("tokenizer_config.json", "added_tokens.json"):
        if (copy / name).is_file():
            (copy / name).write_text((copy / name).read_text().replace(token, "<|other|>"))
    with pytest.raises(ConfigError, match="no token " + token.replace("|", r"\|")):
        InternVLChat(copy).load_model("float32", "sdpa")


@pytest.mark.parametrize("field", ["question", "system"])
def test_picture_tokens_in_a_prompt_are_refused(folder: Path, field: str) -> None:
    texts = {"system": "", "question": "What?"} | {field: "Is <IMG_CONTEXT> abnormal?"}
    with pytest.raises(ConfigError, match="IMG_CONTEXT"):
        InternVLChat(folder).text(Prompt(**texts), 1, (0.0,))


def test_a_prompt_beyond_the_trained_length_is_refused_where_the_past_would_count(
    folder: Path, tmp_path: Path, frames: list[NDArray[np.uint8]]
) -> None:
    content = json.loads((folder / "config.json").read_text())
    text = {**content["llm_config"], "max_position_embeddings": 40}
    copy = changed(folder, tmp_path / "c", "config.json", llm_config=text)
    with pytest.raises(ConfigError, match="takes 40 before its rotary tables"):
        backbone_of(copy).prepare(frames, SECONDS, [PROMPT])
    text["rope_scaling"] = None
    copy = changed(folder, tmp_path / "d", "config.json", llm_config=text)
    assert len(backbone_of(copy).prepare(frames, SECONDS, [PROMPT]).token_ids[0]) > 40
