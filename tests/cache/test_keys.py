"""Keys: one text for one value, and no key for what cannot be written down exactly."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.keys import ABSENT, SCHEMA, Keymaker, canonical, differences, hash_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def naive(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_canonical_json_is_what_the_json_module_writes_with_sorted_keys(value: Any) -> None:
    text = canonical(value)
    assert text == naive(value)
    assert text.isascii()
    assert json.loads(text) == value


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=4), SCALARS, max_size=6), st.randoms())
def test_the_order_of_a_dict_does_not_matter(value: dict[str, Any], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert canonical(dict(shuffled)) == canonical(value)


def test_a_tuple_is_a_list_and_a_number_is_not_its_neighbour_in_another_type() -> None:
    assert canonical((1, (2,))) == canonical([1, [2]]) == "[1,[2]]"
    assert len({canonical(v) for v in (1, 1.0, True, "1")}) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_has_no_key(value: float) -> None:
    with pytest.raises(ValueError, match=r"value\.a\[1\] is .*finite"):
        canonical({"a": [0.0, value]})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1, 2}, r"value\.a is a set"),
        (b"bytes", r"value\.a is a bytes"),
        (object(), r"value\.a is a object"),
        (np.float32(1), r"value\.a is a float32"),
        (np.int64(1), r"value\.a is a int64"),
        ({1: "text"}, r"value\.a has the key 1"),
        ({None: "text"}, r"value\.a has the key None"),
    ],
)
def test_what_json_does_not_have_is_refused_by_its_place(value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        canonical({"a": value})


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=5),
    st.integers(0, 99),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
)
def test_a_key_is_the_hash_of_the_whole_dict(
    stage: str, version: int, recipe: dict[str, Any], inputs: dict[str, Any]
) -> None:
    whole = {
        "schema": SCHEMA,
        "stage": stage,
        "version": version,
        "recipe": recipe,
        "inputs": inputs,
    }
    expected = hashlib.sha256(naive(whole).encode()).hexdigest()
    maker = Keymaker(stage, version, recipe)
    assert maker.key(inputs) == expected == hash_of(whole)
    assert maker.key_of_text(canonical(inputs)) == expected


def test_everything_that_a_key_is_made_of_changes_it() -> None:
    keys = {
        Keymaker("sample", 1, {"a": 1}).key({"video": "x"}),
        Keymaker("decode", 1, {"a": 1}).key({"video": "x"}),
        Keymaker("sample", 2, {"a": 1}).key({"video": "x"}),
        Keymaker("sample", 1, {"a": 2}).key({"video": "x"}),
        Keymaker("sample", 1, {"a": 1, "b": None}).key({"video": "x"}),
        Keymaker("sample", 1, {"a": 1}).key({"video": "y"}),
        Keymaker("sample", 1, {"a": 1}).key({"source": "x"}),
    }
    assert len(keys) == 7


def test_a_recipe_that_is_changed_later_does_not_reach_the_keys() -> None:
    recipe = {"a": 1}
    maker = Keymaker("sample", 1, recipe)
    before = maker.key({})
    recipe["a"] = 2
    assert maker.key({}) == before


def test_golden_keys() -> None:
    """A change here makes every artifact of every user another one: raise SCHEMA if it is meant."""
    recipe = {"frames": 24, "keyframes": 8, "rule": "midpoints", "sigma": 0.4, "labels": None}
    maker = Keymaker("sample", 1, recipe)
    assert maker.key({"source": "ab" * 32}) == (
        "83233dadd8e7635cac8d969e5b11bf5902356b7bf1db94d71955ac1ec49fb89e"
    )
    assert Keymaker("forward", 3, {"prompts": ["Überfall?", "\u65e5"], "heads": True}).key({}) == (
        "8f0e14da7ac4e5e7f8e29da75fc2f0b068bfa820903bb208f4c38cd7e390eb28"
    )
    assert hash_of([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


def test_differences_names_each_field_that_changed() -> None:
    old = {"recipe": {"k": 8, "rule": "midpoints"}, "inputs": {"video": "x"}, "version": 1}
    new = {"recipe": {"k": 16, "rule": "midpoints"}, "inputs": {"plan": "x"}, "version": 1}
    assert differences(old, new) == [
        ("inputs.plan", ABSENT, "x"),
        ("inputs.video", "x", ABSENT),
        ("recipe.k", 8, 16),
    ]


def test_differences_sees_a_change_of_type_alone() -> None:
    assert differences({"a": 1}, {"a": 1.0}) == [("a", 1, 1.0)]
    assert differences({"a": 1}, {"a": True}) == [("a", 1, True)]
    assert differences({"a": {"b": 1}}, {"a": 1}) == [("a", {"b": 1}, 1)]


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.text(max_size=1), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.text(max_size=1), max_size=3),
)
def test_there_are_differences_exactly_where_the_keys_differ(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert bool(differences(old, new)) == (hash_of(old) != hash_of(new))
    assert [(p, b, a) for p, a, b in differences(old, new)] == differences(new, old)


def test_differences_tells_apart_what_gives_other_keys() -> None:
    assert differences({"a": None}, {}) == [("a", None, ABSENT)]
    assert differences([1], [True]) == [("", [1], [True])]
    assert differences({"a": 1}, {"a": 1.0}) == [("a", 1, 1.0)]
