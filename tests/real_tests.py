"""The test videos that the published lists name, as stage evaluate gets them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from manifests.datasets import ucf_crime, xd_violence
from tests.real_lists import LISTS, ucf_sources, xd_sources

READERS = {"ucf_crime": (ucf_crime, ucf_sources), "xd_violence": (xd_violence, xd_sources)}


@cache
def entries_of(name: str) -> dict[str, dict[str, Any]]:
    """What is annotated of every test video, by its name in the lists; skips where they are not."""
    if not LISTS.exists():
        pytest.skip("../shared/data, with the published lists, is not here")
    reader, sources = READERS[name]
    return {e.name: e.truth for e in reader.catalogue(sources()) if e.known.split == "test"}
