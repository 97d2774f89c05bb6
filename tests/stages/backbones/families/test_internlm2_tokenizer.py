"""InternLM2's tokenizer: the ids of the library's own machinery around the same sentencepiece model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from transformers import AddedToken, LlamaTokenizer, PreTrainedTokenizer
from transformers.convert_slow_tokenizer import generate_merges

from cache.errors import ConfigError
from stages.backbones.families.internlm2_tokenizer import InternLM2Tokenizer
from tests.stages.backbones.checkpoints.internvl_chat import write_internlm2_tokenizer

TEXTS = (
    "",
    "hello",
    " leading, and trailing ",
    "  two  spaces  ",
    "\n\n a\tb\r\n",
    "<|im_start|>user\nFrame1: <img><IMG_CONTEXT><IMG_CONTEXT></img>\nWhat is there?<|im_end|>\n",
    "<|im_start|>assistant\n",
    "Is it abnormal? äß 异常 是否 ☃ 🚨",
    "<s><s>x</s>",
    "a<unk>b",
    "<<img>>",
    "<img<img>",
    "<|im_start|> user <|im_end|> \n",
    "ｆｕｌｌ ﬁ Å",
    "\u00a0x\u200b",
    "<0x41>",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_internlm2_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> InternLM2Tokenizer:
    return InternLM2Tokenizer(folder)


@pytest.fixture(scope="module")
def pieces(folder: Path) -> Any:
    return SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def added(folder: Path) -> dict[int, dict[str, Any]]:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return {int(number): token for number, token in settings["added_tokens_decoder"].items()}


class LibraryTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """The library's tokenizer in Python, which the original's is a subclass of."""

    def __init__(self, pieces: Any, **settings: Any) -> None:
        self.pieces = pieces
        super().__init__(**settings)

    @property
    def vocab_size(self) -> int:
        return int(self.pieces.vocab_size())

    def get_vocab(self) -> dict[str, int]:
        own = {self.pieces.id_to_piece(n): n for n in range(self.vocab_size)}
        return own | dict(self.added_tokens_encoder)

    def _tokenize(self, text: str) -> list[str]:
        return list(self.pieces.encode(text, out_type=str))

    def _convert_token_to_id(self, token: str) -> int:
        return int(self.pieces.piece_to_id(token))

    def _convert_id_to_token(self, index: int) -> str:
        return str(self.pieces.id_to_piece(index))


@pytest.fixture(scope="module")
def library(folder: Path, pieces: Any) -> LibraryTokenizer:
    tokens = {number: AddedToken(**token) for number, token in added(folder).items()}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    return LibraryTokenizer(pieces, added_tokens_decoder=tokens, **names)


@pytest.fixture(scope="module")
def converted(folder: Path, pieces: Any) -> Any:
    """The same model as a Llama tokenizer of the library, as the conversions to -hf have it."""
    vocabulary = {pieces.id_to_piece(n): n for n in range(pieces.vocab_size())}
    scores = {piece: pieces.get_score(n) for piece, n in vocabulary.items()}
    bytes_of = [piece for piece, n in vocabulary.items() if pieces.is_byte(n)]
    merges = generate_merges(vocabulary, scores, skip_tokens=[*list(vocabulary)[:5], *bytes_of])
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=False)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_librarys_machinery(
    tokenizer: InternLM2Tokenizer, library: LibraryTokenizer, text: str
) -> None:
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == library(text)["input_ids"]


MIXED = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from(["<|im_end|>", "<s>", "<img>", "</img>", "  "])),
    max_size=6,
).map("".join)


@given(MIXED)
@settings(max_examples=200, deadline=None)
def test_any_text_has_the_librarys_ids(
    tokenizer: InternLM2Tokenizer, library: LibraryTokenizer, text: str
) -> None:
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == library(text)["input_ids"]


@given(MIXED.filter(lambda text: not {"\0", "▁"} & set(text)))
@settings(max_examples=200, deadline=None)
def test_text_survives_the_round_trip(tokenizer: InternLM2Tokenizer, text: str) -> None:
    # U+2581 is how sentencepiece writes a space.
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids[1:], skip_special_tokens=False) == text


@pytest.mark.parametrize("text", [text for text in TEXTS if "<" not in text])
def test_plain_text_has_the_ids_of_the_converted_tokenizer(
    tokenizer: InternLM2Tokenizer, converted: Any, text: str
) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == converted(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == converted.decode(ids)


def test_the_beginning_token_stands_in_front(tokenizer: InternLM2Tokenizer) -> None:
    assert tokenizer("")["input_ids"] == [1]
    plain = tokenizer("a video", add_special_tokens=False)["input_ids"]
    assert tokenizer("a video")["input_ids"] == [1, *plain]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


def test_added_tokens_have_their_own_ids(
    tokenizer: InternLM2Tokenizer, folder: Path, pieces: Any
) -> None:
    for number, token in added(folder).items():
        assert tokenizer(token["content"], add_special_tokens=False)["input_ids"] == [number]
        assert tokenizer.convert_tokens_to_ids(token["content"]) == number
    # One of them took the id of a piece of another name, others lie beyond the pieces.
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end is not None
    assert pieces.id_to_piece(end) == "[UNUSED_TOKEN_145]"
    assert tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>") == pieces.vocab_size() + 2
    assert tokenizer.convert_tokens_to_ids("<video>") is None


def test_an_answer_is_decoded_without_special_tokens(tokenizer: InternLM2Tokenizer) -> None:
    ids = tokenizer(" A man runs away.  是\n☃<|im_end|>")["input_ids"]
    assert tokenizer.decode(ids) == " A man runs away.  是\n☃"
    assert (
        tokenizer.decode(ids, skip_special_tokens=False) == "<s> A man runs away.  是\n☃<|im_end|>"
    )
    assert tokenizer.decode([]) == ""


def test_a_character_cut_by_a_special_token_is_put_together(tokenizer: InternLM2Tokenizer) -> None:
    ids = tokenizer("☃", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3
    assert tokenizer.decode([ids[0], 1, *ids[1:]]) == "☃"


def test_numbers_beyond_the_vocabulary_have_no_text(tokenizer: InternLM2Tokenizer) -> None:
    ids = tokenizer("yes", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode([100_000, *ids, 99_999]) == "yes"


def changed(folder: Path, copy: Path, **values: Any) -> Path:
    shutil.copytree(folder, copy)
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return copy


def test_of_two_tokens_at_one_place_the_longer_is_taken(folder: Path, tmp_path: Path) -> None:
    tokens = {"7": {"content": "<a>"}, "8": {"content": "<a><b>"}, "9": {"content": "<b>"}}
    found = InternLM2Tokenizer(changed(folder, tmp_path / "c", added_tokens_decoder=tokens))
    assert found("<a><b><a><a><b>", add_special_tokens=False)["input_ids"] == [8, 7, 8]
    # Not said to be special: part of the answer.
    assert found.decode([7, 9]) == "<a><b>"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"added_tokens_decoder": {}}, "added_tokens_decoder"),
        ({"add_bos_token": False}, "beginning token"),
        ({"add_eos_token": True}, "ending one"),
        (
            {"added_tokens_decoder": {"5": {"content": "<x>", "lstrip": True}}},
            "'<x>', takes spaces",
        ),
    ],
)
def test_other_settings_are_refused(
    folder: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        InternLM2Tokenizer(changed(folder, tmp_path / "c", **values))


def test_a_model_that_is_missing_or_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "c")
    (copy / "tokenizer.model").write_bytes(b"none")
    with pytest.raises(ConfigError, match=r"tokenizer\.model cannot be read"):
        InternLM2Tokenizer(copy)
    (copy / "tokenizer.model").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer\.model"):
        InternLM2Tokenizer(copy)
    shutil.copy(folder / "tokenizer.model", copy)
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        InternLM2Tokenizer(copy)
