"""Prompts: through the template that counts, with a beginning token once, and no smuggled pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import ConfigError
from stages.backbones import prompting
from stages.backbones.contract import Prompt
from tests.small_backbone import byte_tokenizer

SPECIAL = ("<|endoftext|>", "<|im_end|>", "<picture>")


def template(name: str) -> str:
    """It writes its name, and each role with its words."""
    return (
        name + "{% for m in messages %}|{{ m['role'] }}:{% for part in m['content'] %}"
        "{{ part['text'] }}{% endfor %}{% endfor %}{% if add_generation_prompt %}|answer:{% endif %}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer alone, its template in chat_template.jinja."""
    byte_tokenizer(SPECIAL, template("jinja")).save_pretrained(tmp_path)
    return tmp_path


def text(folder: Path, prompt: Prompt) -> str:
    content = [{"type": "text", "text": prompt.question}]
    return prompting.templated(prompting.load_tokenizer(folder), prompt, content)


def test_a_system_message_stands_first_and_only_where_there_is_one(folder: Path) -> None:
    assert text(folder, Prompt("", "What?")) == "jinja|user:What?|answer:"
    assert text(folder, Prompt("Look.", "What?")) == "jinja|system:Look.|user:What?|answer:"


def test_the_processors_own_file_comes_before_the_tokenizers_template(folder: Path) -> None:
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template("json")}))
    assert text(folder, Prompt("", "What?")).startswith("json|")
    (folder / "chat_template.jinja").unlink()
    assert text(folder, Prompt("", "What?")).startswith("json|")


def test_without_a_template_the_checkpoint_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"no chat template \(chat_template\.jinja expected\)"):
        prompting.load_tokenizer(folder)


def test_a_beginning_token_is_added_where_the_text_has_none(folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = prompting.load_tokenizer(folder)
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    plain = prompting.encode(tokenizer, "What?").tolist()
    assert len(plain) == len("What?")
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", start)]
    )
    for written in ("What?", "<|endoftext|>What?"):
        assert prompting.encode(tokenizer, written).tolist() == [start, *plain]


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        (Prompt("", "See <picture>?"), "question"),
        (Prompt("A <picture>.", "What?"), "system message"),
        (Prompt("", "What?", "<picture>{image}"), "frame format"),
    ],
)
def test_tokens_that_stand_for_pictures_are_refused(prompt: Prompt, where: str) -> None:
    with pytest.raises(ConfigError, match=f"the {where} holds <picture>"):
        prompting.refuse_tokens(prompt, SPECIAL)
    prompting.refuse_tokens(prompt, ["<|im_end|>", ""])


def test_a_family_that_shows_a_video_has_no_frame_format() -> None:
    prompting.refuse_frame_format(Prompt("", "What?"), "This family")
    with pytest.raises(ConfigError, match="This family takes the keyframes as one video"):
        prompting.refuse_frame_format(Prompt("", "What?", "{image}"), "This family")
