"""Stage report (a run): one self-contained HTML page with every figure and picture."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cache.fields import at_least, recipe
from stages.contract import Job, Result

VERSION = 4


@dataclass(frozen=True)
class Settings:
    """What the page shows."""

    note: str = recipe("", "one sentence at the top, such as that the backbone is untrained")
    videos: int = recipe(60, "how many videos get a curve of their own", check=at_least(0))
    thumbnails: int = recipe(12, "most thumbnails of each of them", check=at_least(0))


def compute(job: Job[Settings]) -> Result:
    """Write report.html, which needs no other file, no network and no script to be read.

    Reads "metrics", "choice", "table", "pictures", "scorer" and "threshold", which may each be
    absent, and "intervals", "explanations" and "timeline" of every video that has them; the values
    "videos" and "run". The page says what is not there and why. The rows of the result are the
    videos with a curve.
    """
    from stages.reporting.page import render_page
    from stages.reporting.reading import read_material
    from stages.reporting.videos import choose_videos, make_entry

    settings, begin = job.settings, time.perf_counter()
    material = read_material(job)
    choice = choose_videos(material.videos, job.many.get("intervals", {}), settings.videos)
    read = time.perf_counter()
    entries = []
    for number, video in enumerate(choice.shown):
        entries.append(make_entry(job, number, video, settings.thumbnails))
        job.progress(number + 1, len(choice.shown))
    drawn = time.perf_counter()
    page = render_page(
        material, choice, entries,
        note=settings.note, explained=bool(job.many.get("explanations")),
    )  # fmt: skip
    (job.out / "report.html").write_bytes(page)
    seconds = {"read": read - begin, "draw": drawn - read, "write": time.perf_counter() - drawn}
    return Result(len(entries), seconds=seconds)
