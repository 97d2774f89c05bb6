"""The rows of a video at a choice."""

import numpy as np
import pytest

from cache.errors import ConfigError
from stages.probes.choice import Choice
from stages.probes.samples import probed_rows
from tests.payload import Folder
from tests.states import OTHER, QUESTION, write_artifact, write_heads_artifact


def rows_of(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_layer_gives_its_hidden_state_at_the_question(tmp_path):
    rows = rows_of(5, 3, 4)
    write_artifact(tmp_path, rows, layers=[8, 16, 20], questions=(OTHER, QUESTION))
    found = probed_rows("v", Folder(tmp_path), QUESTION, Choice(layer=16))
    np.testing.assert_array_equal(found, rows[:, 1])
    with pytest.raises(ConfigError, match="v: layer 3 is needed, its hidden states have layers 8"):
        probed_rows("v", Folder(tmp_path), QUESTION, Choice(layer=3))


def test_heads_stand_side_by_side_in_the_order_of_the_choice(tmp_path):
    rows = rows_of(5, 2, 3, 4, 6)
    write_heads_artifact(tmp_path, rows, questions=(OTHER, QUESTION))
    for prompt, question in enumerate((OTHER, QUESTION)):
        choice = Choice(heads=((2, 1), (0, 3), (2, 0)))
        found = probed_rows("v", Folder(tmp_path), question, choice)
        parts = [rows[:, prompt, 2, 1], rows[:, prompt, 0, 3], rows[:, prompt, 2, 0]]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))


def test_what_a_second_pass_kept_gives_the_rows_that_all_heads_give(tmp_path):
    rows, choice = rows_of(5, 1, 3, 4, 6), Choice(heads=((0, 3), (2, 0)))
    write_heads_artifact(tmp_path / "all", rows)
    kept = rows[:, :, [0, 2], [3, 0]]
    write_heads_artifact(tmp_path / "some", kept, heads=choice.heads)
    found = [probed_rows("v", Folder(tmp_path / n), QUESTION, choice) for n in ("all", "some")]
    np.testing.assert_array_equal(found[0], found[1])


def test_what_is_not_kept_is_named(tmp_path):
    write_artifact(tmp_path / "none", rows_of(5, 3, 4))
    with pytest.raises(
        ConfigError, match=r"v: attention heads are .* none are kept; set forward\."
    ):
        probed_rows("v", Folder(tmp_path / "none"), QUESTION, Choice(heads=((0, 1),)))
    write_heads_artifact(tmp_path / "some", rows_of(5, 1, 2, 6), heads=[(0, 1), (4, 4)])
    choice = Choice(heads=((4, 4), (4, 5), (7, 0)))
    with pytest.raises(
        ConfigError,
        match=r"v: heads \[\[4, 5\], \[7, 0\]\] are needed and not kept; .*forward.heads",
    ):
        probed_rows("v", Folder(tmp_path / "some"), QUESTION, choice)
    with pytest.raises(ConfigError, match=r"add it to forward\.prompts"):
        probed_rows("v", Folder(tmp_path / "some"), OTHER, Choice(heads=((0, 1),)))


def test_the_context_stands_behind_the_heads(tmp_path):
    heads, states = rows_of(5, 2, 3, 4, 6), rows_of(5, 2, 7)
    write_artifact(tmp_path, states, layers=[2, 3], questions=(OTHER, QUESTION))
    write_heads_artifact(tmp_path, heads, questions=(OTHER, QUESTION))
    choice = Choice(heads=((2, 1), (0, 3)), context=3)
    found = probed_rows("v", Folder(tmp_path), QUESTION, choice)
    parts = [heads[:, 1, 2, 1], heads[:, 1, 0, 3], states[:, 1]]
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    with pytest.raises(ConfigError, match="v: layer 1 is needed, its hidden states have layers 2"):
        probed_rows("v", Folder(tmp_path), QUESTION, Choice(heads=((2, 1),), context=1))
