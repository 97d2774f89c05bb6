"""One artifact from a store to a remote one: the payload first, the record last.

Without its record nothing of it is visible there. Every byte is digested as it is sent: what is not
what the record says is never committed. Before the record is put, the files that have arrived are
looked at: their sizes always; and their content where the remote store tells it (S3 gives the MD5
of what it has received), or where `check` asks for all of it to be read back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from cache.artifact import Artifact
from cache.commit import RECORD, Commit, FileEntry
from cache.errors import DamagedArtifact, MissingArtifact, Unreachable
from cache.moved import ABSENT, DAMAGED, DIFFERS, EVICTED, MOVED, PRESENT, Moved, Tick
from cache.remote import BLOCK, PART, Remote, Seen, checked, expected_tag, place, refuse_links


def upload(
    artifact: Artifact,
    remote: Remote,
    *,
    check: bool = False,
    dry_run: bool = False,
    tick: Tick = lambda count: None,
) -> Moved:
    """Send an artifact that is not in a remote store; says what became of it.

    With `check`, what is there already is read, too, and sent again where it is damaged. Raises
    Unreachable where the connection breaks off, or something else has arrived than was sent.
    """
    stage, key = artifact.stage, artifact.key
    if artifact.evicted:
        return Moved(stage, key, EVICTED)
    try:
        content = (artifact.path / RECORD).read_bytes()
        commit = checked(content, stage, key, "this store")
        there, note = _look(remote, commit, check)
        if there:
            return Moved(stage, key, there, message=note)
        size = commit.bytes + len(content)
        if not dry_run:
            tags = _send_files(artifact, remote, commit, tick)
            arrived = _check_arrival(remote, commit, tags, check)
            remote.write(f"{place(stage, key)}/{RECORD}", content)
            tick(len(content))
            _check_alone(remote, commit, content, arrived)
        return Moved(stage, key, MOVED, size, note)
    except DamagedArtifact as error:
        return Moved(stage, key, DAMAGED, message=str(error))
    except FileNotFoundError:
        return Moved(stage, key, ABSENT)  # evicted or collected meanwhile


def _look(remote: Remote, commit: Commit, check: bool) -> tuple[str, str]:
    """What is there already (or nothing), and what a person should know of it."""
    stage, key = commit.stage, commit.key
    content = remote.record(stage, key)
    if content is None:
        return "", ""
    try:
        theirs = checked(content, stage, key, remote.shown)
    except DamagedArtifact as error:
        return "", f"{error}; replaced"
    if theirs.digest != commit.digest:
        text = (
            f"{stage}/{key} is in {remote.shown} with other content (digest {theirs.digest[:12]}, "
            f"here {commit.digest[:12]}): the first stays"
        )
        return DIFFERS, text
    if check and (bad := _first_damaged(remote, theirs)):
        return "", f"{stage}/{key} of {remote.shown}: {bad} was damaged; replaced"
    return PRESENT, ""


def _send_files(artifact: Artifact, remote: Remote, commit: Commit, tick: Tick) -> dict[str, str]:
    """Send what has not arrived before; gives the tag that S3 should have for every file."""
    folder = place(commit.stage, commit.key)
    listed = remote.files(folder)
    for name in listed.keys() - {entry.path for entry in commit.files} - {RECORD}:
        remote.remove(f"{folder}/{name}")  # begun by somebody with other content
    tags: dict[str, str] = {}
    for entry in commit.files:
        path, seen = f"{folder}/{entry.path}", listed.get(entry.path)
        if seen and seen.tag and seen.bytes == entry.bytes:
            for _ in _payload(artifact, entry, tags):
                tick(0)
            if tags[entry.path] == seen.tag:
                continue
        try:
            remote.send(path, _told(_payload(artifact, entry, tags), tick))
        except DamagedArtifact:
            remote.remove(path)
            raise
    return tags


def _payload(artifact: Artifact, entry: FileEntry, tags: dict[str, str]) -> Iterator[bytes]:
    """A file of a store, piece by piece; raises DamagedArtifact at its end if it is not the one."""
    digest, size = hashlib.sha256(), 0
    part, parts = hashlib.md5(usedforsecurity=False), list[bytes]()
    try:
        refuse_links(artifact.path, entry.path)
        with (artifact.path / entry.path).open("rb") as file:
            while block := file.read(BLOCK):
                if size and size % PART == 0:
                    parts.append(part.digest())
                    part = hashlib.md5(usedforsecurity=False)
                size += len(block)
                digest.update(block)
                part.update(block)
                yield block
    except OSError as error:
        if not artifact.path.exists():
            raise MissingArtifact(f"{artifact.name} is gone") from error
        raise DamagedArtifact(f"{artifact.name}: {entry.path} cannot be read: {error}") from error
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise DamagedArtifact(
            f"{artifact.name}: {entry.path} is not what its record says, and was not pushed; "
            "`hiprobe cache repair --full` sets it aside and the next run makes it again"
        )
    tags[entry.path] = expected_tag([*parts, part.digest()], size)


def _told(blocks: Iterator[bytes], tick: Tick) -> Iterator[bytes]:
    for block in blocks:
        yield block
        tick(len(block))


def _check_arrival(
    remote: Remote, commit: Commit, tags: Mapping[str, str], check: bool
) -> dict[str, Seen]:
    """The files as they have arrived; raises Unreachable where something else has than was sent."""
    folder = place(commit.stage, commit.key)
    seen = remote.files(folder)
    for entry in commit.files:
        found = seen.get(entry.path, Seen(-1, ""))
        # Another tag need not be another content: an object that S3 has encrypted has no MD5.
        certain = bool(found.tag) and found.tag == tags[entry.path]
        doubtful = bool(found.tag) or check
        if found.bytes == entry.bytes and (certain or not doubtful):
            continue
        if found.bytes != entry.bytes or not _is_whole(remote, f"{folder}/{entry.path}", entry):
            raise Unreachable(
                f"{commit.stage}/{commit.key}: {entry.path} has not arrived in {remote.shown} as it "
                "was sent: push again"
            )
    return {entry.path: seen[entry.path] for entry in commit.files}


def _check_alone(
    remote: Remote, commit: Commit, content: bytes, arrived: Mapping[str, Seen]
) -> None:
    """Raise Unreachable where somebody sent other content for this key at the same time.

    Whoever puts his record last looks last at the files: so one of the two sees it, takes his record
    away again and begins anew. Only where files have tags: sizes alone say nothing.
    """
    if not any(found.tag for found in arrived.values()):
        return
    folder = place(commit.stage, commit.key)
    seen = remote.files(folder)
    for entry in commit.files:
        if seen.get(entry.path) == arrived[entry.path]:
            continue
        # The tag of an object that S3 has encrypted changes with every writing.
        if not _is_whole(remote, f"{folder}/{entry.path}", entry):
            if remote.record(commit.stage, commit.key) == content:
                remote.remove(f"{folder}/{RECORD}")
            raise Unreachable(
                f"{commit.stage}/{commit.key}: somebody pushed other content for it to "
                f"{remote.shown} at the same time: push again"
            )


def _first_damaged(remote: Remote, commit: Commit) -> str:
    """The first file of an artifact that is not what the record says; empty where all are."""
    folder = place(commit.stage, commit.key)
    for entry in commit.files:
        if not _is_whole(remote, f"{folder}/{entry.path}", entry):
            return entry.path
    return ""


def _is_whole(remote: Remote, path: str, entry: FileEntry) -> bool:
    digest, size = hashlib.sha256(), 0
    try:
        for block in remote.blocks(path):
            digest.update(block)
            size += len(block)
            if size > entry.bytes:
                return False
    except FileNotFoundError:
        return False
    return size == entry.bytes and digest.hexdigest() == entry.sha256
