"""How often heads are chosen in a bootstrap, against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cache.errors import ConfigError
from stages.probes.heads.stability import head_stability, replicated_scores

PAIRS = ((3, 0), (3, 1), (5, 0), (5, 4))


def test_the_share_of_replicates_that_choose_a_head():
    scores = [
        [0.1, 0.9, 0.8, 0.2],
        [0.1, 0.9, 0.2, 0.8],
        [0.5, 0.5, 0.5, 0.5],  # of equal ones the lowest
        [None, None, None, 0.5],  # too few: nothing is chosen
    ]
    found = head_stability(PAIRS, scores, 2)
    assert found.chosen == (((3, 1), (5, 0)), ((3, 1), (5, 4)), ((3, 0), (3, 1)), ())
    assert found.wins == [0.25, 0.75, 0.25, 0.25]
    assert found.record([(3, 1), (5, 4)]) == {
        "replicates": 4, "undecided": 1, "wins": [0.75, 0.25]
    }  # fmt: skip
    assert found.note([(3, 1)]) == ""
    said = "1 of the 2 chosen heads are chosen in fewer than half of 4 replicates"
    assert said in found.note([(3, 1), (5, 4)])
    assert head_stability(PAIRS, [], 2) is None


def columns(replicates=3, prompts=2):
    rows = [(*pair, m, r) for pair in PAIRS for m in range(prompts) for r in range(replicates)]
    names = ("layer", "head", "prompt", "replicate")
    found = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    found["separability"] = np.arange(len(rows), dtype=float).tolist()
    return found


def test_scores_are_those_of_the_probed_prompt_replicate_by_replicate():
    # A row is number (pair * 2 + prompt) * 3 + replicate.
    expected = [[float((pair * 2 + 1) * 3 + r) for pair in range(4)] for r in range(3)]
    assert replicated_scores(columns(), PAIRS, 1) == expected
    none = {name: [] for name in columns()}
    assert replicated_scores(none, PAIRS, 0) == []


@pytest.mark.parametrize("lost", [0, 7, 23])
def test_a_table_that_lacks_a_row_is_refused(lost):
    some = columns()
    prompt = some["prompt"][lost]
    for values in some.values():
        del values[lost]
    with pytest.raises(ConfigError, match=f"11 rows at prompt {prompt} for 4 heads"):
        replicated_scores(some, PAIRS, prompt)
