"""The configuration that `hiprobe init` prints."""

from __future__ import annotations

from pipeline.toml import render

HEAD = """A hiprobe run over a folder of videos.
#
#   hiprobe plan FILE      what would run, and why
#   hiprobe run FILE       run it; stop and start again at any time
#   hiprobe status FILE    what is fresh, stale, missing, failed
#
# Relative paths start at the folder of this file. Fields can be left out: these are the defaults,
# but for data.videos and what was given on the command line."""


def folder_config(videos: str, labels: str, backbone: str, scorer: str, name: str) -> str:
    """TOML for a folder of videos of one's own."""
    values = {
        "run": {"name": name, "scorer": scorer},
        "data": {"kind": "folder", "videos": videos, "labels": labels},
        "backbone": {"model": backbone},
    }
    return render(values, head=HEAD)
