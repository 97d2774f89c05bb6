"""What a full verify costs, against reading and hashing the same bytes by hand.

    python -m benchmarks.verification [--artifacts 2000] [--megabytes 1200] [--rounds 7]

By hand: every file of the store, payloads and records, opened, read in blocks of 1 MiB, and put
through sha256; nothing is compared. Four stores of the same form as those of runs:

* large: artifacts of two shards of 48 MB, as stage forward makes them; one thread against the loop,
  and the two that are the default;
* medium: three files, 120 kB together, as stage decode makes them for every video;
* small: two tables of 16 kB, as stage sample makes them;
* tiny: one table of 4 kB, as stage score makes them;
* run: for every video one of each of these, with 20 MB of hidden states: what a store is made of.

Each warm (from the page cache: the cost is all computing) and cold (the pages were given back with
posix_fadvise before each round, so that they come from the disk). Rounds alternate; ratios are the
loop's least time over verify's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache.store import Store
from cache.verify import look_at, places_of

BLOCK = 1 << 20
RECIPE = {"rule": "midpoints", "segment": 24, "backbone": {"layers": list(range(33))}}
ENVIRONMENT = {"python": "3.11.7", "packages": {f"package{n}": f"{n}.1.2" for n in range(12)}}


@dataclass(frozen=True)
class Form:
    """What the artifacts of a store are like."""

    name: str
    sizes: tuple[tuple[int, ...], ...]
    """Bytes of the files of every artifact of a video."""
    threads: tuple[int, ...] = (1,)

    @property
    def bytes(self) -> int:
        """Of all artifacts of a video."""
        return sum(map(sum, self.sizes))


MEDIUM, SMALL, TINY = (50_000, 69_000, 1_000), (16_000, 16_000), (4_000,)
FORMS = (
    Form("large", ((48_000_000, 48_000_000),), (1, 2)),
    Form("medium", (MEDIUM,)),
    Form("small", (SMALL,)),
    Form("tiny", (TINY,)),
    Form("run", ((20_000_000,), MEDIUM, SMALL, TINY, (6_000, 3_000, 1_000)), (1, 2)),
)


def make(root: Path, form: Form, videos: int) -> Store:
    """A store of random bytes for so many videos."""
    store = Store.open(root)
    for number in range(videos):
        for which, sizes in enumerate(form.sizes):
            inputs = {"source": f"{number:063x}{which}"}
            with store.draft("decode", 1, RECIPE, inputs) as draft:
                for place, size in enumerate(sizes):
                    (draft.path / f"{place}.bin").write_bytes(os.urandom(size))
                store.publish(draft, rows=24, environment=ENVIRONMENT)
    return store


def by_hand(root: Path) -> None:
    """Read and hash every file of the artifacts."""
    for folder, _, names in os.walk(root / "decode"):
        for name in names:
            digest = hashlib.sha256()
            with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123
                while block := file.read(BLOCK):
                    digest.update(block)


def verify(store: Store, threads: int) -> None:
    """Verify every artifact in full."""
    looks = look_at(store, places_of(store), full=True, threads=threads)
    assert not [looked for looked in looks if looked.finding]


def give_back(root: Path) -> None:
    """Give the pages of every file back, so that they are read from the disk."""
    for path in (root / "decode").rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(store: Store, threads: int, rounds: int, *, cold: bool) -> tuple[list[float], ...]:
    """Seconds of the loop, and of verify, in turns."""
    hand, ours = [], []
    for _ in range(rounds):
        for times, action in (
            (hand, lambda: by_hand(store.root)),
            (ours, lambda: verify(store, threads)),
        ):
            if cold:
                give_back(store.root)
            times.append(timed(action))
    return hand, ours


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What a full verify costs.")
    parser.add_argument("--artifacts", type=int, default=2000, help="of the stores of smaller ones")
    parser.add_argument("--megabytes", type=int, default=1200, help="of the stores of large ones")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the stores are made and removed")
    given = parser.parse_args()
    print("store     threads  pages   by hand s (median)    verify s (median)   ratio   MB/s")
    for form in FORMS:
        size = form.bytes
        count = max(2, given.megabytes * 10**6 // size) if size > 10**6 else given.artifacts
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            store = make(Path(folder) / "store", form, count)
            os.sync()
            for threads in form.threads:
                for pages in ("warm", "cold"):
                    hand, ours = compare(store, threads, given.rounds, cold=pages == "cold")
                    print(
                        f"{form.name:<9} {threads:>7}  {pages}  "
                        f"{min(hand):>9.3f} ({statistics.median(hand):.3f})  "
                        f"{min(ours):>12.3f} ({statistics.median(ours):.3f})  "
                        f"{min(hand) / min(ours):>6.2f}  {count * size / min(ours) / 1e6:>5.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
