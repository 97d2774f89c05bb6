"""Every family, every number that hiprobe takes: equal to the library's own, or to naive ones.

The measures say what is compared with what; here they are held to their limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stages.backbones import prefill
from stages.backbones.capture import Taps
from stages.backbones.contract import Captured
from stages.backbones.families.native import NativeFamily
from stages.backbones.load import FAMILIES
from tests import oracle
from tests.stages.backbones import measures
from tests.stages.backbones.checkpoints.registry import SMALL
from tests.stages.backbones.measures import MEASURES, PROMPTS, Subject, clips, everything, prepared

Subjects = dict[str, Subject]
ASKED = [name for name, small in SMALL.items() if small.ask]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """Every small checkpoint, loaded when it is used."""
    folder = tmp_path_factory.mktemp("small")
    found = {}
    for name, small in SMALL.items():
        found[name] = Subject(folder / name)
        small.build(folder / name)
    return found


@pytest.fixture(scope="module")
def answers(subjects: Subjects) -> dict[str, list[oracle.Answer]]:
    """What the library's processors make of the same segments."""
    asked = [
        (subjects[name].folder, measures.requests(small.ask))
        for name, small in SMALL.items()
        if small.ask
    ]
    return dict(zip(ASKED, oracle.ask_all(asked), strict=True))


def test_no_family_is_left_out(subjects: Subjects) -> None:
    assert {subject.sdpa.model_type for subject in subjects.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", ASKED)
def test_preparation_equals_the_librarys_processor(
    subjects: Subjects, answers: dict[str, list[oracle.Answer]], name: str
) -> None:
    assert measures.preparation(subjects[name].sdpa, answers[name]) == 0.0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", SMALL)
def test_numbers_are_within_their_limit(subjects: Subjects, name: str, measure: str) -> None:
    assert MEASURES[measure].of(subjects[name]) <= MEASURES[measure].limit


@pytest.mark.parametrize("name", SMALL)
def test_states_depend_on_pictures_their_order_and_the_prompt(
    subjects: Subjects, name: str
) -> None:
    """Else equality would say little."""
    backbone = subjects[name].sdpa
    first, second = clips(2)
    shown = [prepared(backbone, clip) for clip in (first, first[::-1], second)]
    asked = prepared(backbone, first, PROMPTS[1])
    wanted = everything(backbone)
    states = [backbone.forward([item], wanted).states[0, 0] for item in (*shown, asked)]
    for other in states[1:]:
        # Layer 0 is the embedding of the last token: the same vector for every clip and prompt.
        assert torch.equal(other[0], states[0][0])
        for layer in range(1, backbone.layers + 1):
            size = float(states[0][layer].abs().max())
            assert float((other[layer] - states[0][layer]).abs().max()) > 1e-3 * size


def unmasked(prefix: int, lengths: Any, dtype: Any) -> torch.Tensor:
    return torch.zeros(1, 1, sum(lengths), prefix + sum(lengths), dtype=dtype)


def stretched(self: Any, model: Any, token_ids: torch.Tensor, *rest: Any) -> torch.Tensor:
    return 2 * torch.arange(token_ids.shape[1]).expand_as(token_ids)


def dense_first(found: Captured, head_dim: int) -> Captured:
    """Heads as if a head were every n-th number."""
    heads = found.heads.unflatten(-1, (head_dim, -1)).transpose(-1, -2).flatten(-2)
    return Captured(found.states, heads)


def before_last(self: Any, kept: dict[int, torch.Tensor], layer: int) -> Callable[[Any], None]:
    def keep(tensor: torch.Tensor) -> None:
        kept[layer] = tensor[:, -2:-1].clone()

    return keep


captured = Taps.captured
MISTAKES: dict[str, tuple[Any, str, Any, str]] = {
    "prompts see each other": (prefill, "suffix_mask", unmasked, "3 prompts packed"),
    "other positions": (NativeFamily, "positions", stretched, "states 0..L-1"),
    "heads in another order": (
        Taps,
        "captured",
        lambda self, head_dim: dense_first(captured(self, head_dim), head_dim),
        "heads (sdpa)",
    ),
    "another position is kept": (Taps, "_keeper", before_last, "early exit"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(
    subjects: Subjects, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    owner, name, wrong, measure = MISTAKES[mistake]
    subject = subjects["internvl (qwen2)"]
    assert MEASURES[measure].of(subject) <= MEASURES[measure].limit
    monkeypatch.setattr(owner, name, wrong)
    assert MEASURES[measure].of(subject) > 1e-2
