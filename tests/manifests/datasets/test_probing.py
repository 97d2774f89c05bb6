"""The probing subset: labelled training videos only, balanced, in proportion, and stable."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from manifests.datasets.listing import ListedVideo
from manifests.datasets.probing import candidates, choose_probing


def video(
    name: str,
    label: int | None = 0,
    class_name: str = "",
    split: str = "train",
    digest: str | None = None,
) -> ListedVideo:
    digest = f"sha of {name}" if digest is None else digest
    return ListedVideo(name, f"{name}.mp4", 1, digest, split, label, class_name, [])


def choose(rows: list[ListedVideo], **options: Any) -> frozenset[str]:
    return choose_probing(rows, **{"share": 0.0, "count": 0, "videos": (), "seed": 0, **options})


def ucf_crime() -> list[ListedVideo]:
    """1610 training videos: 800 normal, 810 anomalous of 13 classes; 290 test videos."""
    sizes = [48, 45, 41, 87, 29, 45, 127, 145, 27, 29, 95, 45, 47]
    rows = [video(f"Normal{n:04}", 0, "Normal") for n in range(800)]
    rows += [video(f"C{c:02}_{n:03}", 1, f"C{c:02}") for c, s in enumerate(sizes) for n in range(s)]
    rows += [video(f"Test{n:03}", n % 2, "Normal", "test") for n in range(290)]
    return sorted(rows)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["train", "train", "train", "test", ""]),
        st.sampled_from([0, 1, 1, None]),
        st.sampled_from(["", "Riot", "Fire", "Abuse"]),
        st.sampled_from([None, None, None, None, "same", ""]),
    ),
    max_size=40,
).map(
    lambda facts: [
        video(f"v{n:02}", label, name, split, digest)
        for n, (split, label, name, digest) in enumerate(facts)
    ]
)


def test_one_percent_of_ucf_crime_is_sixteen_videos_half_of_them_anomalous() -> None:
    rows = {row.video_id: row for row in ucf_crime()}
    chosen = [rows[name] for name in choose(list(rows.values()), share=0.01)]
    assert len(chosen) == 16
    assert Counter(row.label for row in chosen) == {0: 8, 1: 8}
    assert Counter(row.split for row in chosen) == {"train": 16}
    classes = Counter(row.class_name for row in chosen if row.label == 1)
    # Eight places over classes of 145, 127, 95, 87, 48, 47 and three times 45 videos of 810:
    # 1.43, 1.25, 0.94, 0.86, 0.47, 0.46, 0.44: two whole ones, then six by remainder.
    assert set(classes.values()) == {1}
    assert set(classes) >= {"C07", "C06", "C10", "C03", "C00", "C12"}
    assert len(set(classes) & {"C01", "C05", "C11"}) == 2


def test_a_published_data_set_gives_the_same_subset_in_whatever_folders_it_lies() -> None:
    plain = [row._replace(name=row.video_id) for row in ucf_crime()]
    parts = [
        row._replace(video_id=f"Part-{hashlib.md5(row.name.encode()).hexdigest()[0]}/{row.name}")
        for row in plain
    ]
    named = {row.video_id: row.name for row in parts}
    for seed in range(5):
        chosen = choose(sorted(parts), share=0.01, seed=seed)
        assert {named[video_id] for video_id in chosen} == choose(plain, share=0.01, seed=seed)


def test_the_choice_is_fixed_for_ever() -> None:
    """A change here makes every fitted probe another one."""
    rows = [video(f"v{n:02}", n % 2) for n in range(20)]
    ranked = sorted(rows, key=lambda row: hashlib.sha256(f"7\n{row.video_id}".encode()).digest())
    first = [[row.video_id for row in ranked if row.label == n][:3] for n in (0, 1)]
    assert choose(rows, count=6, seed=7) == {*first[0], *first[1]}
    assert sorted(choose(rows, count=6, seed=7)) == ["v00", "v07", "v09", "v10", "v18", "v19"]


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, share=st.floats(0, 1), count=st.integers(0, 8), seed=st.integers(-3, 3))
def test_what_holds_for_every_data_set(
    rows: list[ListedVideo], share: float, count: int, seed: int
) -> None:
    found = candidates(rows)
    known = {row.video_id: row for row in found}
    by_label = {n: [row for row in found if row.label == n] for n in (0, 1)}
    if count > len(found):
        with pytest.raises(ConfigError, match=f"probing_count = {count}, but .* {len(found)} tr"):
            choose(rows, share=share, count=count, seed=seed)
        return
    chosen = choose(rows, share=share, count=count, seed=seed)

    # only labelled training videos, each content once, none that is in the test set
    assert chosen <= set(known)
    assert all(row.split == "train" and row.label is not None for row in found)
    digests = [row.digest for row in found]
    assert "" not in digests
    assert len(set(digests)) == len(digests)
    assert not set(digests) & {row.digest for row in rows if row.split == "test"}

    # as many as asked for, at least one per label, and half of each as far as they reach
    present = sum(bool(group) for group in by_label.values())
    assert len(chosen) == max(count or round(share * len(found)), present)
    taken = {n: sum(row.video_id in chosen for row in group) for n, group in by_label.items()}
    assert all(taken[n] >= 1 for n in (0, 1) if by_label[n])
    if abs(taken[0] - taken[1]) > 1:
        scarce = min((0, 1), key=lambda n: taken[n])
        assert taken[scarce] == len(by_label[scarce])

    # each class has its proportion of its label, rounded down or up
    for label, group in by_label.items():
        for name, size in Counter(row.class_name for row in group).items():
            exact = Fraction(taken[label] * size, len(group))
            got = sum(known[v].label == label and known[v].class_name == name for v in chosen)
            assert int(exact) <= got <= -int(-exact // 1)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 3), random=st.randoms(use_true_random=False))
def test_only_id_label_and_class_matter(rows: list[ListedVideo], seed: int, random: Any) -> None:
    other = [row._replace(path=f"x/{row.path}", bytes=99, intervals=[[0, 1, "x"]]) for row in rows]
    random.shuffle(other)
    assert choose(other, share=0.3, seed=seed) == choose(rows, share=0.3, seed=seed)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(4, 60), count=st.integers(1, 4), name=st.text("abv019", min_size=1))
def test_a_new_video_of_one_class_takes_at_most_one_place(size: int, count: int, name: str) -> None:
    rows = [video(f"v{n:02}") for n in range(size)]
    if name in {row.video_id for row in rows}:
        return
    before = choose(rows, count=count)
    after = choose([*rows, video(name)], count=count)
    assert after - before <= {name}
    assert len(before - after) == len(after - before)


def test_a_new_video_changes_a_stratified_subset_little() -> None:
    rows = ucf_crime()
    before = choose(rows, count=40)
    changes = [
        len(before ^ choose([*rows, video(f"new{n}", n % 2, f"C{n % 13:02}")], count=40))
        for n in range(60)
    ]
    assert max(changes) <= 4
    assert sum(changes) / len(changes) < 1


def test_another_seed_draws_other_videos() -> None:
    draws = {choose(ucf_crime(), count=10, seed=seed) for seed in range(5)}
    assert len(draws) == 5


def test_ties_between_classes_follow_the_seed_and_not_the_alphabet() -> None:
    rows = [video(f"{c}{n}", 1, c) for c in "abcdefgh" for n in range(3)]
    first = {min(v[0] for v in choose(rows, count=2, seed=seed)) for seed in range(20)}
    assert len(first) > 3


def test_one_label_fills_what_the_other_cannot() -> None:
    rows = [video("a1", 1), *(video(f"n{n}") for n in range(9))]
    chosen = choose(rows, count=6)
    assert "a1" in chosen
    assert len(chosen) == 6
    assert choose([video("n")], share=0.01) == {"n"}
    assert choose([video("n", 0, "", "test"), video("u", None)], share=0.5) == frozenset()


def test_the_second_name_of_the_same_file_is_left_out() -> None:
    rows = [video("b", 0, digest="x"), video("a", 0, digest="x"), video("c", 0)]
    assert [row.video_id for row in candidates(rows)] == ["a", "c"]


def test_a_training_video_that_is_also_a_test_video_is_left_out() -> None:
    rows = [video("a", digest="x"), video("b"), video("t", 0, split="test", digest="x")]
    assert choose(rows, share=1.0) == {"b"}


def test_named_videos_are_taken_as_they_are() -> None:
    rows = [video("a"), video("b", 1), video("c", 1)]
    assert choose(rows, videos=("c", "a"), count=1) == {"a", "c"}


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["video_train1"], "'video_train1' is not in the data set; the nearest known name is"),
        (["video_test"], "'video_test' is a test video: nothing is ever fitted on the test set"),
        (["video_bare"], "'video_bare' has no label"),
        (["video_loose"], "'video_loose' has no split; give it the split train"),
        (["video_blind"], "'video_blind' cannot be read"),
        (["video_train", "video_twin"], "'video_twin' is the same file as 'video_train'"),
        (["video_train", "video_train"], "'video_train' is the same file as 'video_train'"),
        (["video_leak"], "'video_leak' is the same file as the test video 'video_test'"),
        (["video_train", "video_test", "x"], "'video_test' is a test video"),
    ],
)
def test_a_named_video_that_cannot_be_one_is_refused(names: list[str], problem: str) -> None:
    rows = [
        video("video_bare", None), video("video_blind", digest=""), video("video_loose", split=""),
        video("video_leak", digest="t"), video("video_test", 1, split="test", digest="t"),
        video("video_train", digest="x"), video("video_twin", digest="x"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"data\.probing_videos must name training") as caught:
        choose(rows, videos=names)
    assert problem in str(caught.value)


def test_all_wrong_names_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        choose([video("a", None), video("b", split="test")], videos=("a", "b"))
    assert "'a' has no label; 'b' is a test video" in str(caught.value)
