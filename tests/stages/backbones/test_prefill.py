"""Several prompts in one row: what they share, and what each of them may see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.backbones.prefill import shared_tokens, suffix_mask

PICTURE = 7
SHARED = [1, PICTURE, PICTURE, 2]


def ids(*tokens: list[int]) -> list[torch.Tensor]:
    return [torch.tensor([row, row]) for row in tokens]


@given(st.lists(st.lists(st.integers(8, 9), max_size=5), min_size=1, max_size=4))
def test_the_longest_common_beginning_is_shared(tails: list[list[int]]) -> None:
    prompts = [[*SHARED, *tail, 3] for tail in tails]
    cut = shared_tokens(ids(*prompts), (PICTURE,))
    assert all(prompt[:cut] == prompts[0][:cut] for prompt in prompts)
    assert all(len(prompt) > cut for prompt in prompts)
    longer = [prompt[: cut + 1] for prompt in prompts]
    assert any(each != longer[0] for each in longer) or min(map(len, prompts)) == cut + 1


def test_every_row_of_a_batch_must_agree() -> None:
    first = torch.tensor([[1, PICTURE, 2, 3], [1, PICTURE, 2, 3]])
    second = torch.tensor([[1, PICTURE, 2, 4], [1, PICTURE, 9, 4]])
    assert shared_tokens([first, second], (PICTURE,)) == 2


def test_prompts_that_differ_before_the_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="before the last picture"):
        shared_tokens(ids([1, PICTURE, PICTURE, 3], [2, PICTURE, PICTURE, 3]), (PICTURE,))


@given(st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_token_sees_the_prefix_and_its_own_suffix_so_far(prefix: int, lengths: list[int]) -> None:
    mask = suffix_mask(prefix, lengths, torch.float32)[0, 0].numpy()
    owners = [(owner, place) for owner, n in enumerate(lengths) for place in range(n)]
    expected = np.full((len(owners), prefix + len(owners)), torch.finfo(torch.float32).min)
    for row, (owner, place) in enumerate(owners):
        for column in range(prefix):
            expected[row, column] = 0
        for column, (other, before) in enumerate(owners):
            if other == owner and before <= place:
                expected[row, prefix + column] = 0
    np.testing.assert_array_equal(mask, expected.astype(np.float32))
