"""Gathering the world: the only part of planning that looks at files."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import sums
from cache.atomic import replace_json
from cache.catalog import load_catalog
from cache.commit import FileEntry, content_digest
from cache.digest import read_json
from cache.errors import ConfigError, StoreError
from cache.keys import canonical
from cache.store import Store
from manifests.datasets.contract import Listing, reader_of
from manifests.datasets.listing import ListedVideo, listed_videos, listing_values
from manifests.datasets.probing import choose_probing
from manifests.datasets.sources import DigestMemory, digest_files
from manifests.schema import ANNOTATIONS, VIDEOS
from manifests.table import read_table
from pipeline.config import Config
from pipeline.deviations import deviation_lines, refuse_deviations
from pipeline.estimates import PASSES, Basis
from pipeline.graph import GRAPH, NODES
from pipeline.leakage import fitted_on, refuse_leaks
from pipeline.pause import no_collection
from pipeline.plan import StagePlan, plan_stage
from pipeline.record import read_failures
from pipeline.sources import memory_of, sources_of
from pipeline.task import SCORER, Folder, scorer_digest
from pipeline.world import DATASET, Failure, OutsideScorer, Video, World
from stages.backbones.shape import shape_of
from stages.probes.choice import choice_of

SMALL = 4 << 30
"""Bytes of source files that `plan` and `status` digest on their own: a few seconds of reading."""

SIZES = 20
"""Videos whose frame size is looked at for an estimate."""

Report = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the options of a command say about what is to be planned."""

    select: str = ""
    limit: int = 0
    retry_failed: bool = False
    rehash: bool = False
    beside: tuple[Path, ...] = ()
    """Results folders of other runs whose remembered failures hold here too: what failed under a
    key fails under it in every run."""
    for_run: bool = False
    """Work will follow: digest every source file that is not known, however large, and download
    a backbone that is named by its hub id."""


@no_collection()
def gather(
    config: Config, store: Store, choices: Choices, progress: Report = lambda done, total: None
) -> World:
    """Look at the data set, the store and the results of the last run.

    Raises ConfigError for anything in the configuration or the labels that cannot be right.
    """
    if config.run.bundle:
        from pipeline.bundles.planning import world_of_bundle

        world = dataclasses.replace(
            world_of_bundle(config, store, _failures((*choices.beside, config.results))),
            scorer=_find_scorer(config),
            retry_failed=choices.retry_failed,
        )
        return with_videos(world, store, choices)
    listing = look(config)
    refuse_deviations(listing, config.origin)
    return world_of_listing(config, store, choices, listing, progress)


def look(config: Config) -> Listing:
    """The videos and what the lists say of them, deviations included; no video is opened.

    Raises ConfigError where there is no folder of videos or a list cannot be read.
    """
    _data_root(config)
    return reader_of(config.sections["data"].kind).read(sources_of(config))


def world_of_listing(
    config: Config, store: Store, choices: Choices, listing: Listing, progress: Report
) -> World:
    """The world with this data set, whatever deviates in it."""
    world = with_model(world_of_files(config, store, choices, listing), store, choices)
    world = digested(world, store, listing, choices, progress)
    return with_videos(world, store, choices)


def world_of_files(config: Config, store: Store, choices: Choices, listing: Listing) -> World:
    """The world as far as the file system shows it: no digests, no model, no scorer."""
    return World(
        config=config,
        versions={node.name: _version(node.module) for node in GRAPH},
        data=_data_root(config),
        warnings=(*listing.warnings, *deviation_lines(listing.deviations)),
        absent=_absent(listing),
        listed_frames={
            video_id: entry.frames for video_id, entry in listing.entries.items() if entry.frames
        },
        committed=load_catalog(store, NODES),
        failures=_failures((*choices.beside, config.results)),
        retry_failed=choices.retry_failed,
    )


def with_model(world: World, store: Store, choices: Choices) -> World:
    """Add the backbone and the outside scorer; raises ConfigError where one cannot be used."""
    identity, problem, here = find_backbone(world.config, store, download=choices.for_run)
    return dataclasses.replace(
        world,
        backbone=identity,
        backbone_problem=problem,
        backbone_here=here,
        scorer=_find_scorer(world.config),
    )


def _absent(listing: Listing) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for entry in listing.absent:
        found[entry.known.split].append(entry.name)
    return {split: tuple(sorted(names)) for split, names in found.items()}


def _failures(folders: Sequence[Path]) -> dict[str, dict[str, Failure]]:
    """The remembered failures of these results, by stage and key; the last folder's count most."""
    found: dict[str, dict[str, Failure]] = {}
    for folder in folders:
        for stage, failures in read_failures(folder, [node.name for node in GRAPH]).items():
            found.setdefault(stage, {}).update(failures)
    return found


def with_videos(world: World, store: Store, choices: Choices) -> World:
    """Add the videos: from the index artifact, or as that stage will have them.

    Raises LeakageError where a test video had a part in the probe, before anything rests on it.
    """
    if world.listing is None:
        return world
    plan = plan_stage(NODES["index"], world, {})
    if DATASET in plan.digests and plan.keys[DATASET] not in world.committed["index"].evicted:
        videos = read_videos(store, plan.keys[DATASET])
    else:
        videos = foresee_videos(world)
    world = dataclasses.replace(world, videos=videos, chosen=_choose(videos, choices))
    refuse_leaks(world)
    return world


def foresee_videos(world: World) -> tuple[Video, ...]:
    """The videos as the index stage will write them, so that a first plan can count everything."""
    rows = listed_videos(world.listing)
    probing = choose_subset(world.config, rows)
    return tuple(
        Video(
            *row[:7],
            "probing" if row.video_id in probing else "",
            tuple((start, end) for start, end, _ in row.intervals),
        )
        for row in rows
    )


def choose_subset(config: Config, rows: Sequence[ListedVideo]) -> frozenset[str]:
    """The probing subset as the index stage will draw it; raises ConfigError as that does."""
    settings = config.sections["data"]
    return choose_probing(
        rows,
        share=settings.probing_share,
        count=settings.probing_count,
        videos=settings.probing_videos,
        seed=settings.probing_seed,
    )


def read_videos(store: Store, key: str) -> tuple[Video, ...]:
    """The videos of an index artifact, with their annotations."""
    artifact = store.artifact("index", key)
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    table = read_table(artifact.file("annotations.parquet"), ANNOTATIONS).to_pydict()
    for name, start, end in zip(
        table["video_id"], table["start_frame"], table["end_frame"], strict=True
    ):
        spans[name].append((start, end))
    names = ("video_id", "path", "bytes", "digest", "split", "label", "class", "subset")
    rows = read_table(artifact.file("videos.parquet"), VIDEOS, columns=names).to_pydict()
    annotations = (tuple(spans.get(name, ())) for name in rows["video_id"])
    return tuple(map(Video, *(rows[name] for name in names), annotations))


def find_backbone(config: Config, store: Store, *, download: bool) -> tuple[str, str, bool]:
    """The identity of the backbone, why there is none, and whether the model is on this machine.

    Weight files are digested once and remembered in the store. Where the model is not here,
    backbone.identity says which one is meant, and all that it has made can be used.
    """
    from stages.backbones.identity import identify, resolve

    settings = config.sections["backbone"]
    if not settings.model:
        return settings.identity, "no backbone is given: set backbone.model", False
    model = model_path(config)
    if download and not settings.identity:
        resolve(model, settings.revision, download=True)
    memory = store.root / "catalog" / "backbones.json"
    remembered = _remembered(memory)
    before = dict(remembered)
    try:
        found = identify(model, settings.revision, settings.dtype, settings.attention, remembered)
    except ConfigError:
        if settings.identity:
            return settings.identity, "", False
        raise
    if remembered != before:
        with contextlib.suppress(OSError):  # a store that cannot be written is digested again
            replace_json(memory, remembered)
            sums.note(memory)
    if settings.identity and settings.identity != found:
        raise ConfigError(
            f"backbone.model is {found}, backbone.identity says {settings.identity}: these are "
            "other weights or files than were meant; correct one of the two"
        )
    return found, "", True


def gather_basis(world: World, plans: Mapping[str, StagePlan], store: Store) -> Basis | str:
    """What the estimate of the forward passes needs beside the plan, or why there is none.

    Only small files are read: of the checkpoint, of the choice, and the frame size of some videos.
    """
    from stages.backbones.identity import resolve, resolved_dtype

    settings = world.config.sections["backbone"]
    if not settings.model or not world.backbone_here:
        return "the backbone is not on this machine"
    try:
        folder = resolve(model_path(world.config), settings.revision, download=False)
        shape, dtype = shape_of(folder), resolved_dtype(folder, settings.dtype)
    except ConfigError as error:
        return str(error)
    sized = shape.vision.image is not None  # all frames are shown in one size
    return Basis(
        shape, dtype, {} if sized else _frame_sizes(plans, store), _choice(world, plans, store)
    )


def _frame_sizes(plans: Mapping[str, StagePlan], store: Store) -> dict[tuple[int, int], int]:
    """How many videos have frames of which height and width, among some that are to be passed."""
    keys, digests = plans["decode"].keys, plans["decode"].digests
    items = [item for stage in PASSES for item in (*plans[stage].todo, *plans[stage].waiting)]
    ready = [item for item in items if item in digests]
    found: dict[tuple[int, int], int] = {}
    for item in ready[:: -(-len(ready) // SIZES) or 1]:
        with contextlib.suppress(StoreError):  # damage is told by what reads the video next
            video = read_json(store.artifact("decode", keys[item]).file("video.json"))
            size = (int(video["height"]), int(video["width"]))
            found[size] = found.get(size, 0) + 1
    return found


def _choice(world: World, plans: Mapping[str, StagePlan], store: Store) -> Any:
    """The chosen layer or heads, from stage select or an outside scorer; None where there is none."""
    if world.scorer is not None:
        return read_json(world.scorer.path / "scorer.json")
    plan = plans["select"]
    if DATASET not in plan.digests:
        return None
    with contextlib.suppress(StoreError):
        return read_json(store.artifact("select", plan.keys[DATASET]).file("choice.json"))
    return None


def _remembered(path: Path) -> dict[str, str]:
    """Digests of weight files by name, size and time; nothing where the file is not usable."""
    try:
        found = read_json(path) if sums.is_sound(path) else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def model_path(config: Config) -> str:
    """backbone.model as an absolute folder where there is one, else as the hub id that it is."""
    model: str = config.sections["backbone"].model
    folder = (config.folder / Path(model).expanduser()).resolve()
    return str(folder) if folder.is_dir() or model.startswith((".", "/", "~")) else model


def _data_root(config: Config) -> Path:
    root = config.path("data", "videos")
    if root is None:
        raise ConfigError(f"{config.origin}: data.videos is empty: give the folder of the videos")
    return root


def _version(module: str) -> int:
    version: int = importlib.import_module(module).VERSION
    return version


def digested(
    world: World, store: Store, listing: Listing, choices: Choices, progress: Report
) -> World:
    """Add what the index stage starts from, unless too much is to be read for it (`to_digest`)."""
    memory_path = memory_of(world.data, store)
    memory = DigestMemory(memory_path)
    if choices.rehash:
        memory_path.unlink(missing_ok=True)
        memory = DigestMemory(memory_path)
    unknown = [file for file in listing.files if memory.known(file) is None]
    size = sum(file.bytes for file in unknown)
    if unknown and size > SMALL and not choices.for_run:
        return dataclasses.replace(world, to_digest=(len(unknown), size))
    threads = world.config.run.threads
    digests, unreadable = digest_files(world.data, listing.files, memory, threads, progress)
    return dataclasses.replace(
        world, listing=listing_values(listing, digests), unreadable=unreadable
    )


def _choose(videos: tuple[Video, ...], choices: Choices) -> frozenset[str] | None:
    if not choices.select and not choices.limit:
        return None
    names = [v.video_id for v in videos]
    if choices.select:
        names = [name for name in names if fnmatch.fnmatchcase(name, choices.select)]
        if not names:
            raise ConfigError(f"--select {choices.select}: no video id of the data set matches")
    return frozenset(names[: choices.limit] if choices.limit else names)


def _find_scorer(config: Config) -> OutsideScorer | None:
    folder = config.path("run", "scorer")
    if folder is None:
        return None
    described = folder / "scorer.json"
    try:
        for name in SCORER:
            if (folder / name).exists():
                sums.require(folder / name)
        record: Any = read_json(described)
        features, choice = record["features"], choice_digest(record)
        digest = scorer_digest(folder)
    except FileNotFoundError as error:
        raise ConfigError(
            f"run.scorer = {folder.name!r}: {Path(error.filename).name} is missing; expected the "
            "folder `scorer` in the results of a run that fitted one (an older hiprobe wrote it "
            "without probing_scores.parquet: run that run again)"
        ) from error
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"run.scorer: {described.name} is not a scorer's record: {error}"
        ) from error
    return OutsideScorer(folder, digest, features, choice, fitted_on(Folder(folder, digest)))


def choice_digest(record: Mapping[str, Any]) -> str:
    """Content digest of the artifact of stage select with the choice that a scorer was fitted on.

    So what a second pass made is found again whether the choice comes from the run's own selection
    or with a scorer, whatever else that scorer's record says. Raises ConfigError without a choice.
    """
    # As cache.digest.write_json writes it.
    text = canonical(choice_of(record).record()) + "\n"
    said = hashlib.sha256(text.encode("ascii")).hexdigest()
    return content_digest((FileEntry("choice.json", len(text), said),))
