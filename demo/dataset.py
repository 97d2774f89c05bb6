"""The demonstration's data set: which videos there are, and their files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from demo.cast import LEVELS
from demo.clips import SCENES_BEFORE
from demo.looks import Palette
from demo.script import ANOMALOUS, LOOK_ALIKES, draw_story, scenes_of
from demo.story import Story
from demo.video import write_video

TRAIN, TEST = 8, 32
"""Videos of each split; half of them have an anomaly."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video of the data set."""

    path: str
    """Relative to the folder of the videos; its first part is the split."""
    story: Story

    @property
    def split(self) -> str:
        """train or test."""
        return self.path.split("/")[0]

    @property
    def kind(self) -> str:
        """Name of its class: what is anomalous in it, or Normal."""
        return next((kind for _, _, kind in self.story.intervals), "normal")


def draw_dataset(seed: int, train: int = TRAIN, test: int = TEST) -> list[Video]:
    """Draw the stories of a data set.

    All scenes and people are held out of the backbone's training, in both splits. Scenes of the
    training split do not come again in the test split.
    """
    return [*_split(seed, "train", train), *_split(seed, "test", test)]


def _split(seed: int, split: str, count: int) -> list[Video]:
    """Half of the videos anomalous, through all kinds and levels in turn; then normal ones."""
    videos = []
    for number in range(count):
        rng = np.random.default_rng([seed, split == "train", number])
        anomalous = number < (count + 1) // 2
        order = np.random.default_rng([seed, split == "train", 10_000]).permutation(len(ANOMALOUS))
        kind = ANOMALOUS[order[number % len(ANOMALOUS)]]
        level = LEVELS[number % len(LEVELS)]
        alike = LOOK_ALIKES[ANOMALOUS[order[(number + 1) % len(ANOMALOUS)]]]
        features = [
            (alike, int(rng.choice(LEVELS))),
            (kind if anomalous else LOOK_ALIKES[kind], level),
        ]
        scenes = scenes_of([name for name, _ in features])
        if not scenes:  # the two never meet: only the one that the video is about
            features = features[1:]
            scenes = scenes_of([features[0][0]])
        rng.shuffle(features)
        scene_kind = str(rng.choice(scenes))
        scene = 2 * SCENES_BEFORE + 1000 * seed + 500 * (split == "train") + number
        palette: Palette = "held out"
        story = draw_story(rng, scene_kind, scene, palette, features)
        name = kind.replace(" ", "_") if anomalous else "normal"
        path = f"{split}/{scene_kind.replace(' ', '_')}_{name}_{number + 1:02d}.mp4"
        videos.append(Video(path, story))
    return videos


def write_dataset(folder: Path, videos: Sequence[Video], pool: Executor | None = None) -> None:
    """Write `folder`/videos/<split>/NAME.mp4, labels.csv and acts.csv; with a pool, in parallel.

    The label file has the columns video, split, label, class, start_frame and end_frame, one row
    per interval, with 0-based half-open frame numbers; normal videos have one row without numbers.
    acts.csv tells everything that happens, the ordinary and the look-alikes too, with captions; no
    stage reads it. The same stories give the same bytes with the same libraries. Videos that the
    folder's label file of before lists, such as those of another seed, are removed.
    """
    _remove_listed(folder)
    for video in videos:
        (folder / "videos" / video.path).parent.mkdir(parents=True, exist_ok=True)
    paths = [folder / "videos" / video.path for video in videos]
    stories = [video.story for video in videos]
    list((pool.map if pool else map)(write_video, paths, stories))
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "split", "label", "class", "start_frame", "end_frame"))
        for video in videos:
            for start, end, kind in video.story.intervals or (("", "", "normal"),):
                label = int(kind != "normal")
                writer.writerow((video.path, video.split, label, kind, start, end))
    with (folder / "acts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "split", *(field.name for field in fields(Told))))
        for video in videos:
            for told in acts_of(video.story):
                writer.writerow((video.path, video.split, *astuple(told)))


def _remove_listed(folder: Path) -> None:
    labels = folder / "labels.csv"
    if labels.is_file():
        with labels.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                (folder / "videos" / row["video"]).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Told:
    """One row of acts.csv, after the video and its split."""

    start_frame: int
    end_frame: int
    kind: str
    group: str
    """normal, look-alike or anomalous."""
    level: int
    """Subtlety, 1 to 3."""
    caption: str


def acts_of(story: Story) -> list[Told]:
    """Everything that happens in a story."""
    return [
        Told(
            act.start,
            act.end,
            act.told_as.name,
            act.told_as.group,
            act.level,
            story.caption(act.start, act.end),
        )
        for act in story.acts
    ]
