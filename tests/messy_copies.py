"""Deliberately messy copies of UCF-Crime and XD-Violence, and what is to be said of each.

The files are a few bytes: a listing opens none. The names are those of the published lists where
these are at hand, and of a small invented data set otherwise. `python -m tests.messy_copies FOLDER`
makes both, with a configuration each, for `hiprobe check` to be run on them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from manifests.datasets.contract import Sources
from manifests.datasets.split_lists import read_names
from tests.real_lists import LISTS, ucf_sources, xd_sources

Expected = set[tuple[str, str, bool]]
"""(kind, subject, whether it stops a run) of deviations."""


@dataclass
class MessyCopy:
    """A folder of files, the lists beside it, and every deviation but those of counts."""

    kind: str
    sources: Sources
    expected: Expected = field(default_factory=set)
    used: dict[str, str] = field(default_factory=dict)
    """The path that is to be used, by name, where there are several."""
    places: dict[str, str] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)

    @property
    def root(self) -> Path:
        assert self.sources.root is not None
        return self.sources.root

    def path(self, name: str) -> Path:
        """Where the file of a name was put first."""
        return self.root / self.places[name]

    def put(self, path: str) -> None:
        file = self.root / path
        self.places.setdefault(file.stem, path)
        if file.parent not in self.folders:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.folders.add(file.parent)
        file.write_text(path, encoding="utf-8")

    def move(self, name: str, folder: str) -> None:
        source = self.path(name)
        source.rename(self.root / folder / source.name)

    def rename(self, name: str, file_name: str) -> None:
        source = self.path(name)
        source.rename(source.with_name(file_name))

    def expect(self, kind: str, *subjects: str, stops: bool = False) -> None:
        self.expected |= {(kind, subject, stops) for subject in subjects}


def messy_ucf_crime(folder: Path) -> MessyCopy:
    """UCF-Crime below Anomaly-Videos-Part-N folders, with faults of every kind."""
    copy = MessyCopy("ucf-crime", ucf_sources(folder / "videos"))
    if not LISTS.exists():
        copy.sources = invented_ucf_crime(folder)
    train, test = _names(copy.sources)
    for path in (*train, *test):
        part = "" if "Normal" in path else f"Anomaly-Videos-Part-{1 + ord(path[1]) % 4}/"
        copy.put(f"{part}{path}")
    trained, tested = [_group(paths) for paths in (train, test)]

    for name in (trained["Abuse"][0], trained["Normal"][1], tested["Abuse"][0]):
        copy.path(name).unlink()
        copy.expect("missing", name, stops=True)
    events = "Normal_Videos_for_Event_Recognition"
    for path in (f"{events}/Normal_Videos_9999_x264.mp4", "Abuse/holiday.mp4", "notes/a.avi"):
        copy.put(path)
        copy.expect("extra", path)

    backup, evented, twice = trained["Arrest"][0], tested["Normal"][0], trained["Normal"][2]
    for name, path in (
        (backup, f"backup/Arrest/{backup}.mp4"),
        (evented, f"{events}/{evented}.mp4"),
        (twice, f"{copy.path(twice).relative_to(copy.root).parent}/{twice}.MP4"),
    ):
        copy.used[name] = copy.path(name).relative_to(copy.root).as_posix()
        copy.put(path)
        copy.expect("duplicate", name)

    lower, upper, doubled = trained["Arrest"][1], trained["Normal"][3], tested["Normal"][1]
    copy.rename(lower, f"{lower.lower()}.mp4")
    copy.rename(upper, f"{upper}.MP4")
    copy.rename(doubled, f"{doubled}.mp4.mp4")
    copy.expect("spelling", lower, upper, doubled)

    one, two = trained["Abuse"][2], trained["Arrest"][2]
    for name, other in ((one, two), (two, one)):
        copy.move(name, Path(copy.places[other]).parent.as_posix())
    copy.expect("contradiction", one, two)
    anomalous, normal = tested["Abuse"][1], tested["Normal"][2]
    copy.move(anomalous, "Training_Normal_Videos_Anomaly")
    copy.move(normal, Path(copy.places[one]).parent.as_posix())
    copy.expect("contradiction", anomalous, normal, stops=True)
    astray = tested["Normal"][3]
    copy.move(astray, "Training_Normal_Videos_Anomaly")
    copy.expect("contradiction", astray)
    return copy


def messy_xd_violence(folder: Path) -> MessyCopy:
    """XD-Violence in folders of training and test videos, with faults of every kind."""
    copy = MessyCopy("xd-violence", xd_sources(folder / "videos"))
    if not LISTS.exists():
        copy.sources = invented_xd_violence(folder)
    train, test = _names(copy.sources)
    for names, place in ((train, "1-1004"), (test, "test_videos")):
        for name in names:
            copy.put(f"{place}/{name}.mp4")

    for name in (train[0], train[7], test[0], test[-1]):
        copy.path(name).unlink()
        copy.expect("missing", name, stops=True)
    for path in ("1-1004/trailer.mp4", "1-1004/A.New.One.2022__#1_label_A.mkv"):
        copy.put(path)
        copy.expect("extra", path)
    copy.used[test[1]] = f"test_videos/{test[1]}.mp4"
    copy.put(f"2005-2804/{test[1]}.mp4")
    copy.expect("duplicate", test[1])
    copy.rename(train[1], f"{train[1]}.mp4.mp4")
    copy.rename(test[2], f"{test[2]}.MP4")
    copy.rename(train[2], f"{train[2].upper()}.mp4")
    copy.expect("spelling", train[1], test[2], train[2])
    copy.move(train[3], "test_videos")
    copy.expect("contradiction", train[3])
    return copy


def invented_ucf_crime(folder: Path) -> Sources:
    """Lists of a small data set that is written like UCF-Crime."""
    trained = [f"{c}/{c}{n:03}_x264.mp4" for c in ("Abuse", "Arrest") for n in range(4)]
    normal = "Training_Normal_Videos_Anomaly"
    trained += [f"{normal}/Normal_Videos{n:03}_x264.mp4" for n in range(8)]
    tested = [f"{c}/{c}1{n:02}_x264.mp4" for c in ("Abuse", "Arrest") for n in range(3)]
    calm = [f"Testing_Normal_Videos_Anomaly/Normal_Videos_{n:03}_x264.mp4" for n in range(5)]
    lines = [f"{p.split('/')[1]}  {p.split('/')[0]}  10  20  -1  -1  " for p in tested]
    lines += [f"{p.split('/')[1]}  Normal  -1  -1  -1  -1  " for p in calm]
    return Sources(
        folder / "videos",
        annotations=_write(folder / "annotations.txt", lines),
        train_list=_write(folder / "Anomaly_Train.txt", trained),
        test_list=_write(folder / "Anomaly_Test.txt", [*tested, *calm]),
    )


def invented_xd_violence(folder: Path) -> Sources:
    """Lists of a small data set that is written like XD-Violence."""
    labels = ("A", "B1-0-0", "A", "G-B2-B6", "A", "B6-G-0")
    trained = [f"A.Film.19{n:02}__#0-0{n % 10}-1_label_{labels[n % 6]}" for n in range(12)]
    tested = [f"v=x_{n:02}__#1_label_{labels[n % 6]}" for n in range(12)]
    lines = [f"{name} 10 20 30 50" for name in tested if not name.endswith("_A")]
    return Sources(
        folder / "videos",
        annotations=_write(folder / "annotations.txt", lines),
        train_list=_write(folder / "train.txt", trained),
        test_list=_write(folder / "test.txt", tested),
    )


def _write(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def _names(sources: Sources) -> tuple[list[str], list[str]]:
    assert sources.train_list is not None
    assert sources.test_list is not None
    train = read_names(sources.train_list, "")
    return [n.path for n in train], [n.path for n in read_names(sources.test_list, "")]


def _group(paths: Sequence[str]) -> dict[str, list[str]]:
    """Bare names of UCF-Crime by class."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, name = path.split("/")
        class_name = "Normal" if "Normal" in folder else folder
        found.setdefault(class_name, []).append(name.removesuffix(".mp4"))
    return found


COPIES: tuple[Callable[[Path], MessyCopy], ...] = (messy_ucf_crime, messy_xd_violence)


def write_config(copy: MessyCopy, path: Path) -> Path:
    """A configuration of the messy copy."""
    from pipeline.initial import Beside, published_config

    sources = copy.sources
    path.write_text(
        published_config(
            copy.kind,
            videos=str(copy.root),
            annotations=str(sources.annotations),
            train_list=str(sources.train_list),
            test_list=str(sources.test_list),
            frame_counts=[str(counts) for counts in sources.frame_counts],
            beside=Beside(),
        ),
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    for make in COPIES:
        folder = Path(sys.argv[1]) / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        made = make(folder)
        write_config(replace(made), folder / "run.toml")
        print(f"hiprobe check {folder / 'run.toml'}")
