"""What `hiprobe check` says: a data set against its lists, before anything runs on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cache.errors import ConfigError
from cache.store import Store
from manifests.datasets.contract import Listing
from manifests.datasets.listing import ListedVideo, listed_videos, listing_values
from pipeline.config import Config, changed
from pipeline.deviations import KINDS, PHRASES, frame_differences, remedy
from pipeline.gather import (
    Choices,
    choose_subset,
    digested,
    look,
    with_model,
    with_videos,
    world_of_files,
)
from pipeline.graph import NODES
from pipeline.plan import plan_stage
from pipeline.progress import size
from pipeline.stores import open_store
from pipeline.values import check_features
from pipeline.view import table
from pipeline.world import World
from stages.index import refuse_unannotated


def check_value(config: Config) -> dict[str, Any]:
    """Everything that is known of the data set, as a JSON value.

    "refused" holds the reasons for which a run would not begin. Source files of a few GB are
    digested, as `plan` does; no video is decoded. Raises ConfigError where the folder or a list
    cannot be read at all.
    """
    refused: list[str] = []
    listing = _look(config, refused)
    store, choices = open_store(config), Choices()
    world = world_of_files(config, store, choices, listing)
    world = digested(world, store, listing, choices, lambda done, total: None)
    refused += _deviations_refused(listing)
    probing = _probing(world, listing, refused)
    world = _tried(lambda: with_videos(world, store, choices), world, refused)
    _tried(lambda: _with_fitting_model(world, store, choices), world, refused)
    count, volume = world.to_digest
    return {
        "kind": config.sections["data"].kind,
        "folder": str(world.data),
        "videos": len(listing.files),
        "groups": _groups(listing),
        "absent": {split: len(names) for split, names in world.absent.items()},
        "probing": probing,
        "deviations": [asdict(deviation) for deviation in listing.deviations],
        "warnings": list(listing.warnings),
        "same_content": _same_content(world),
        "to_digest": {"files": count, "bytes": volume},
        "frames": _frames(world, listing),
        "refused": refused,
    }


def _look(config: Config, refused: list[str]) -> Listing:
    """The listing; for a folder of one's own also where its label file and it are at odds.

    There a run is refused while the label file is read, by line; here all of it is to be said.
    """
    try:
        return look(config)
    except ConfigError as error:
        if config.sections["data"].kind != "folder":
            raise
        lenient = {"data.allow_missing": True, "data.unlisted": "score"}
        listing = look(changed(config, lenient, config.origin))
        refused.append(str(error))
        return listing


def _tried(make: Any, otherwise: World, refused: list[str]) -> World:
    """What is made, or the world as it was with the reason why a run would be refused."""
    try:
        made: World = make()
    except ConfigError as error:
        if str(error) not in refused:
            refused.append(str(error))
        return otherwise
    return made


def _with_fitting_model(world: World, store: Store, choices: Choices) -> World:
    found = with_model(world, store, choices)
    check_features(found)
    return found


def _deviations_refused(listing: Listing) -> list[str]:
    stopping = [deviation for deviation in listing.deviations if deviation.stops]
    if not stopping:
        return []
    counts = Counter(deviation.kind for deviation in stopping)
    said = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if kind in counts)
    return [f"{len(stopping)} deviations stop a run ({said}). {remedy(stopping)}"]


def _groups(listing: Listing) -> list[dict[str, Any]]:
    """Found, official and absent videos by split and class."""
    found = Counter((known.split, known.class_name) for known in listing.labels.values())
    absent = Counter((e.known.split, e.known.class_name) for e in listing.absent)
    splits = {split for split, _ in listing.official}
    return [
        {
            "split": split,
            "class": name,
            "found": found[split, name],
            "official": listing.official.get((split, name), 0) if split in splits else None,
            "absent": absent[split, name],
        }
        for split, name in sorted({*found, *absent, *listing.official}, key=_train_first)
    ]


def _train_first(group: tuple[str, str]) -> tuple[int, str]:
    order = {"train": 0, "test": 1}
    return order.get(group[0], 2), group[1]


def _probing(world: World, listing: Listing, refused: list[str]) -> dict[str, Any]:
    """The probing subset, as it will be drawn."""
    foreseen = world.listing is None
    # Not all digests are known: every file counts as different from all others.
    values = listing_values(listing, {f.video_id: f.video_id for f in listing.files})
    rows = listed_videos(values if foreseen else world.listing)
    chosen: frozenset[str] = frozenset()
    try:
        chosen = choose_subset(world.config, rows)
        if world.config.sections["data"].probing_labels == "frame":
            refuse_unannotated([row for row in rows if row.video_id in chosen])
    except ConfigError as error:
        refused.append(str(error))
    labelled = sum(row.split == "train" and row.label is not None for row in rows)
    return {
        "count": len(chosen),
        "labelled_training_videos": labelled,
        "share": len(chosen) / labelled if labelled else 0.0,
        "foreseen": foreseen,
        "videos": [
            {"video_id": row.video_id, "label": row.label, "class": row.class_name}
            for row in sorted(rows, key=_by_class)
            if row.video_id in chosen
        ],
    }


def _by_class(row: ListedVideo) -> tuple[int, str, str]:
    return row.label or 0, row.class_name, row.video_id


def _same_content(world: World) -> list[list[dict[str, str]]]:
    """Videos that are the same file, to the byte, under several names."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in listed_videos(world.listing or []):
        if row.digest:
            found[row.digest].append({"video_id": row.video_id, "split": row.split})
    return sorted(
        (same for same in found.values() if len(same) > 1), key=lambda s: s[0]["video_id"]
    )


def _frames(world: World, listing: Listing) -> dict[str, Any]:
    """Numbers of frames, decoded and listed, and annotations that end past the last one."""
    decode = plan_stage(NODES["decode"], world, {}) if world.videos is not None else None
    sizes = world.committed["decode"].sizes
    decoded = {v: sizes[decode.keys[v]][0] for v in decode.digests} if decode else {}
    past = []
    for video_id, known in listing.labels.items():
        frames = decoded.get(video_id, world.listed_frames.get(video_id))
        end = max((a.end_frame for a in known.annotations), default=0)
        if frames is not None and end > frames:
            by = "decoded" if video_id in decoded else "listed"
            past.append({"video_id": video_id, "end_frame": end, "frames": frames, "by": by})
    return {
        "listed": len(world.listed_frames),
        "decoded": len(decoded),
        "differences": [asdict(d) for d in frame_differences(world, decode)] if decode else [],
        "past_the_end": past,
    }


def check_text(value: Mapping[str, Any]) -> str:
    """What `hiprobe check` prints."""
    lines = [f"{value['kind']}: {value['videos']} videos in {value['folder']}", ""]
    lines += [_groups_text(value["groups"]), "", *_probing_text(value["probing"])]
    for kind in KINDS:
        found = [d for d in value["deviations"] if d["kind"] == kind]
        if found:
            lines += ["", f"{kind}: {len(found)} {PHRASES[kind]}"]
            lines += [f"  {d['text']}{' [stops]' if d['stops'] else ''}" for d in found]
    lines += ["", *_content_text(value), *_frames_text(value["frames"])]
    lines += [f"warning: {text}" for text in value["warnings"]]
    lines += ["", *(f"a run would be refused: {text}" for text in value["refused"])]
    if not value["refused"]:
        absent = sum(value["absent"].values())
        said = f" without the {absent} absent videos; every figure says so" if absent else ""
        lines.append(f"a run can begin{said}")
    return "\n".join(lines)


def _groups_text(groups: list[dict[str, Any]]) -> str:
    rows = []
    for split in dict.fromkeys(group["split"] for group in groups):
        of_split = [group for group in groups if group["split"] == split]
        official = [group["official"] for group in of_split]
        total = {
            "split": split,
            "class": "all",
            "found": sum(group["found"] for group in of_split),
            "official": None if None in official else sum(official),
            "absent": sum(group["absent"] for group in of_split),
        }
        for group in (*of_split, total):
            known, off = group["official"], group["official"] != group["found"]
            rows.append(
                [
                    group["split"] or "none",
                    group["class"] or "-",
                    str(group["found"]),
                    "-" if known is None else str(known),
                    str(group["absent"]),
                    f"{group['found'] - known:+d}" if known is not None and off else "",
                ]
            )
    return table(["split", "class", "found", "official", "absent", ""], rows)


def _probing_text(probing: Mapping[str, Any]) -> list[str]:
    anomalous = sum(video["label"] == 1 for video in probing["videos"])
    head = (
        f"probing subset: {probing['count']} of {probing['labelled_training_videos']} labelled "
        f"training videos ({100 * probing['share']:.2f} %): {probing['count'] - anomalous} normal, "
        f"{anomalous} anomalous"
    )
    if probing["foreseen"]:
        head += " (foreseen: where two are the same file, which digests show, others are drawn)"
    return [head, *(f"  {v['class'] or '-'}  {v['video_id']}" for v in probing["videos"])]


def _content_text(value: Mapping[str, Any]) -> list[str]:
    lines = []
    for same in value["same_content"]:
        both = {"train", "test"} <= {video["split"] for video in same}
        names = " = ".join(f"{v['video_id']} ({v['split'] or 'no split'})" for v in same)
        lines.append(f"same content{', in training and test' if both else ''}: {names}")
    count, volume = value["to_digest"]["files"], value["to_digest"]["bytes"]
    if count:
        lines.append(
            f"same content: not known, {count} files ({size(volume)}) are not digested yet: "
            "`hiprobe run --until index` does it"
        )
    elif not lines:
        lines.append("same content: no file is there under two names")
    return lines


def _frames_text(frames: Mapping[str, Any]) -> list[str]:
    lines = [
        f"frames: {frames['listed']} videos have a listed number, {frames['decoded']} are decoded; "
        f"{len(frames['differences'])} differ"
    ]
    lines += [
        f"  {d['video_id']}: {d['decoded']} decoded, {d['listed']} listed: what is decoded counts"
        for d in frames["differences"]
    ]
    lines += [
        f"  {p['video_id']}: annotated to frame {p['end_frame']}, and has {p['frames']} "
        f"({p['by']}): clipped to {p['frames']}"
        for p in frames["past_the_end"]
    ]
    return lines
