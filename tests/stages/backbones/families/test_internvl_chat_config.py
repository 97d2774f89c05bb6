"""The native configuration of an original-layout InternVL: the original's settings and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache.errors import ConfigError
from stages.backbones.families.internvl_chat_config import native_config, text_type
from stages.backbones.identity import read_config
from tests.stages.backbones.checkpoints.internvl_chat import Text, build

FOLDER = Path("model")


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[Text, dict[str, Any]]:
    found: dict[Text, dict[str, Any]] = {}
    texts: tuple[Text, ...] = ("internlm2", "qwen2")
    for text in texts:
        folder = tmp_path_factory.mktemp("checkpoint") / text
        build(folder, text=text)
        found[text] = read_config(folder)
    return found


def changed(config: dict[str, Any], part: str, **values: Any) -> dict[str, Any]:
    """The same with other values; None leaves a field out."""
    inner = {**(config[part] if part else config), **values}
    inner = {name: value for name, value in inner.items() if value is not None}
    return {**config, part: inner} if part else inner


def test_internlm2_becomes_llama(configs: dict[Text, dict[str, Any]]) -> None:
    native = native_config(FOLDER, configs["internlm2"], 422)
    text = native.text_config
    assert (native.image_token_id, native.image_seq_length, native.downsample_ratio) == (
        422,
        4,
        0.5,
    )
    assert native.tie_word_embeddings is False
    assert (text.model_type, text.num_hidden_layers, text.num_key_value_heads) == ("llama", 4, 2)
    assert (text.rms_norm_eps, text.attention_bias, text.mlp_bias) == (1e-5, False, False)
    assert text.rope_parameters == {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
    vision = native.vision_config
    assert (vision.norm_type, vision.attention_bias, vision.use_qk_norm) == (
        "layer_norm",
        True,
        False,
    )


def test_qwen2_stays_and_runtime_settings_are_left_behind(
    configs: dict[Text, dict[str, Any]],
) -> None:
    original = changed(configs["qwen2"], "llm_config", attn_implementation="flash_attention_2")
    text = native_config(FOLDER, original, 1).text_config
    assert (text.model_type, text.num_hidden_layers, text.rms_norm_eps) == ("qwen2", 4, 1e-6)
    assert text.sliding_window is None
    assert text._attn_implementation != "flash_attention_2"


def test_what_is_left_out_has_the_originals_default(configs: dict[Text, dict[str, Any]]) -> None:
    left_out = ("bias", "rope_theta", "rope_scaling", "max_position_embeddings", "rms_norm_eps")
    original = changed(configs["internlm2"], "llm_config", **dict.fromkeys(left_out))
    text = native_config(FOLDER, original, 1).text_config
    assert (text.attention_bias, text.max_position_embeddings) == (True, 2048)
    assert text.rms_norm_eps == 1e-6
    assert text.rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}
    unsaid = ("qk_normalization", "norm_type", "qkv_bias")
    original = changed(configs["internlm2"], "vision_config", **dict.fromkeys(unsaid))
    vision = native_config(FOLDER, original, 1).vision_config
    assert (vision.use_qk_norm, vision.norm_type, vision.attention_bias) == (
        True,
        "rms_norm",
        False,
    )


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_rotary_scaling_is_taken_over_under_both_of_its_names(
    configs: dict[Text, dict[str, Any]], key: str
) -> None:
    scaling = {key: "linear", "factor": 4.0}
    original = changed(configs["internlm2"], "llm_config", rope_scaling=scaling)
    text = native_config(FOLDER, original, 1).text_config
    assert text.rope_parameters == {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
def test_tied_embeddings_are_the_text_models_affair(
    configs: dict[Text, dict[str, Any]], text: Text
) -> None:
    original = changed(configs[text], "llm_config", tie_word_embeddings=True)
    assert native_config(FOLDER, original, 1).tie_word_embeddings is True


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("", {"ps_version": "v1"}, "ps_version = 'v1', only 'v2'"),
        ("", {"ps_version": None}, "ps_version = 'v1', only 'v2'"),
        ("", {"select_layer": -4}, "select_layer = -4, only -1"),
        ("", {"force_image_size": 448}, "force_image_size = 448, only 56"),
        ("", {"vision_config": None}, "no vision_config"),
        ("", {"llm_config": None}, "no llm_config"),
        ("llm_config", {"rope_pos_id_version": "v2pe"}, "rope_pos_id_version = 'v2pe'"),
        ("llm_config", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "scaling 'yarn'"),
        (
            "llm_config",
            {"model_type": "phi3"},
            "'phi3'; supported in this layout: internlm2, qwen2",
        ),
        (
            "vision_config",
            {"qk_normalization": True, "layer_norm_eps": 1e-5},
            "layer_norm_eps = 1e-05, only 1e-06",
        ),
    ],
)
def test_what_the_native_class_does_not_follow_is_refused(
    configs: dict[Text, dict[str, Any]], part: str, values: dict[str, Any], message: str
) -> None:
    original = changed(configs["internlm2"], part, **values)
    with pytest.raises(ConfigError, match=message):
        native_config(FOLDER, original, 1)


def test_the_vision_models_sizes_are_taken_over(configs: dict[Text, dict[str, Any]]) -> None:
    original = changed(
        configs["internlm2"], "vision_config", layer_norm_eps=1e-5, hidden_act="relu"
    )
    vision = native_config(FOLDER, original, 1).vision_config
    assert (vision.layer_norm_eps, vision.hidden_act) == (1e-5, "relu")
    assert (vision.hidden_size, vision.num_hidden_layers, vision.intermediate_size) == (32, 3, 48)
    assert (vision.num_attention_heads, tuple(vision.patch_size)) == (2, (14, 14))


def test_an_unset_image_size_is_the_vision_models(configs: dict[Text, dict[str, Any]]) -> None:
    original = changed(configs["internlm2"], "", force_image_size=None)
    assert tuple(native_config(FOLDER, original, 1).vision_config.image_size) == (56, 56)


def test_traces_of_finetuning_do_not_matter(configs: dict[Text, dict[str, Any]]) -> None:
    # Merged checkpoints may still say so; whether they are merged is seen in their weights.
    original = changed(configs["internlm2"], "", use_llm_lora=16, use_backbone_lora=8)
    native = native_config(FOLDER, original, 1)
    assert native.to_dict() == native_config(FOLDER, configs["internlm2"], 1).to_dict()


def test_the_text_model_is_named(configs: dict[Text, dict[str, Any]]) -> None:
    assert {text_type(FOLDER, config) for config in configs.values()} == {"internlm2", "qwen2"}
