"""Writing a bundle: beside its place, forced to the disk, and renamed there in one step."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cache.atomic import sync_folder, sync_tree, walk
from cache.digest import file_digest, write_json
from cache.errors import ConfigError, RunStopped
from cache.store import Store
from pipeline.bundles.arrays import Origin, copy_heads, copy_layers
from pipeline.bundles.artifacts import BUNDLED, KEPT, payload_of, write_artifacts
from pipeline.bundles.configuration import bundled_config
from pipeline.bundles.contents import (
    ARTIFACTS,
    CONFIG,
    DATASET_FILE,
    HEADS,
    MARK,
    README,
    SCORER,
    STATES,
    SUMS,
    Pair,
    array_name,
    held_text,
)
from pipeline.bundles.description import dataset_of, described
from pipeline.bundles.readme import readme
from pipeline.bundles.tables import write_tables
from pipeline.plan import StagePlan
from pipeline.progress import size
from pipeline.task import SCORER as SCORER_FILES
from pipeline.world import DATASET, World

PASSES = ("forward", "forward_selected")
Plans = Mapping[str, StagePlan]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the hidden states goes into a bundle."""

    layers: tuple[int, ...]
    heads: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written."""

    path: str
    what: str
    videos: int
    segments: int
    failed: int
    bytes: int
    forward_bytes: int
    """Bytes of the artifacts that its arrays were taken from."""

    def text(self) -> str:
        """In a line or two."""
        share = 100 * self.bytes / self.forward_bytes if self.forward_bytes else 0.0
        failed = f"; {self.failed} videos that failed have none" if self.failed else ""
        return (
            f"bundle of {self.videos:,} videos, {self.segments:,} segments, {self.what}: "
            f"{size(self.bytes)} ({share:.3g} % of the {size(self.forward_bytes)} that forward "
            f"takes){failed}\n{self.path}"
        )


def export(
    world: World,
    plans: Plans,
    store: Store,
    wanted: Wanted,
    out: Path,
    report: Report = lambda video: None,
) -> Exported:
    """Write a bundle of what a run has made; `report` gets each video whose array is written.

    Raises ConfigError for a folder that is not empty, for states that are not made yet or do not
    hold what is wanted, EvictedArtifact, DamagedArtifact for a byte that is not what was written,
    RunStopped where the disk is too small.
    """
    require_ready(world, plans, out)
    with _beside(out) as draft, _room(out, _foreseen(world, plans, wanted)):
        rows = _write_arrays(draft, plans, store, wanted, report)
        write_artifacts(draft / ARTIFACTS, plans, store)
        write_tables(draft, world, plans, store, rows)
        _write_small(draft, world, plans, store)
        said = described(world, plans, store, wanted.layers, wanted.heads, rows)
        what = held_text(wanted.layers, wanted.heads)
        (draft / README).write_text(readme(said, what), encoding="utf-8")
        total = _seal(draft, said)
        sync_tree(draft)
        _put_in_place(draft, out)
    forward = sum(world.committed[stage].sizes[key][1] for stage, _, key in _made(plans))
    return Exported(str(out), what, len(rows), sum(rows.values()), said["failed"], total, forward)


def require_ready(world: World, plans: Plans, out: Path) -> None:
    """Raise ConfigError unless there is something to export, and a place for it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: it is there and not empty; give a folder that is not")
    if world.bundle is not None:
        raise ConfigError(
            "this run starts from a bundle itself: export from a run on the whole store, or copy "
            "the bundle"
        )
    if not _made(plans):
        why = plans["forward"].off or "`hiprobe run --until forward` makes them"
        raise ConfigError(f"there are no hidden states to export: {why}")
    for stage in ("index", "decode", "sample", *PASSES):
        plan = plans[stage]
        if held := len(plan.todo) + len(plan.waiting) + len(plan.unselected):
            raise ConfigError(
                f"{held} of {plan.total} items of {stage} are not made yet, and a bundle is one of "
                "a whole data set: run `hiprobe run` first"
            )


def _made(plans: Plans) -> list[tuple[str, str, str]]:
    """(stage, video, key) of every artifact with hidden states, sorted by video."""
    found = [(s, item, plans[s].keys[item]) for s in PASSES for item in plans[s].digests]
    return sorted(found, key=lambda made: made[1])


def _write_arrays(
    draft: Path, plans: Plans, store: Store, wanted: Wanted, report: Report
) -> dict[str, int]:
    """Write one array per video and kind; gives the segments of each."""
    for name, asked in ((STATES, wanted.layers), (HEADS, wanted.heads)):
        if asked:
            (draft / name).mkdir()
            write_json(
                draft / name / "zarr.json",
                {"zarr_format": 3, "node_type": "group", "attributes": {}},
            )
    rows = {}
    for stage, video, key in _made(plans):
        artifact = payload_of(store, stage, key)
        origin, name = Origin(video, artifact.digest), array_name(video)
        if wanted.layers:
            source = artifact.file(STATES)
            copy_layers(source, draft / STATES / name, wanted.layers, origin)
        if wanted.heads:
            copy_heads(artifact.file(HEADS), draft / HEADS / name, wanted.heads, origin)
        rows[video] = artifact.commit.rows
        report(video)
    return rows


def _write_small(draft: Path, world: World, plans: Plans, store: Store) -> None:
    """Everything of a line or a table that is simply copied or written down."""
    index = store.artifact("index", plans["index"].keys[DATASET])
    shutil.copyfile(index.file("annotations.parquet"), draft / "annotations.parquet")
    text = bundled_config(world.config, world.backbone)
    (draft / CONFIG).write_text(text, encoding="utf-8")
    write_json(draft / DATASET_FILE, dataset_of(world))
    if world.scorer is not None:
        (draft / SCORER).mkdir()
        for name in SCORER_FILES:
            shutil.copyfile(world.scorer.path / name, draft / SCORER / name)


def _seal(draft: Path, said: Mapping[str, object]) -> int:
    """Write SHA256SUMS and bundle.json, which counts what is there; gives the bytes of all."""
    files = [Path(entry.path) for entry in walk(draft) if not entry.is_dir(follow_symlinks=False)]
    total = sum(path.stat().st_size for path in files)
    write_json(draft / MARK, {**said, "files": len(files) + 1, "bytes": total})
    named = sorted((path.relative_to(draft).as_posix(), path) for path in (*files, draft / MARK))
    lines = [f"{file_digest(path)}  {name}\n" for name, path in named]
    (draft / SUMS).write_text("".join(lines), encoding="ascii")
    return sum((draft / name).stat().st_size for name in (MARK, SUMS)) + total


def _foreseen(world: World, plans: Plans, wanted: Wanted) -> int:
    """Bytes that the bundle will take, about: of the hidden states a share by their layers."""
    sizes = {stage: world.committed[stage].sizes for stage in BUNDLED}
    small = sum(
        sizes[stage][key][1]
        for stage in BUNDLED
        if stage not in KEPT
        for item, key in plans[stage].keys.items()
        if item in plans[stage].digests
    )
    kept = world.config.sections["forward"].layers
    share = 0.0 if isinstance(kept, str) else len(wanted.layers) / len(kept)
    states = sum(sizes[stage][key][1] for stage, _, key in _made(plans))
    return small + round(share * states)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside a place, which is gone on leaving unless it was moved there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.tmp")
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _room(out: Path, needed: int) -> Iterator[None]:
    """Raise RunStopped where the disk has not room for so many bytes, or is full on the way."""

    def stopped() -> RunStopped:
        free = shutil.disk_usage(out.parent).free
        return RunStopped(
            f"--out {out}: no space left: the bundle takes {needed:,} bytes or more, {free:,} are "
            "free; nothing is left of it, make room and export again"
        )

    if shutil.disk_usage(out.parent).free < needed:
        raise stopped()
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise stopped() from error
        raise


def _put_in_place(draft: Path, out: Path) -> None:
    try:
        draft.rename(out)  # over an empty folder, too
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise ConfigError(
            f"--out {out}: somebody else has put something there meanwhile"
        ) from error
    with contextlib.suppress(FileNotFoundError):
        sync_folder(out.resolve().parent)
