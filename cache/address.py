"""Addresses of remote stores, which may carry credentials: shown and quoted without them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cache.errors import ConfigError

SECRET = re.compile(r"key|secret|token|pass|cred|auth|sas|sign", re.IGNORECASE)
"""Names of options, and of parameters of a URL, whose value nobody else may see."""
HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """Where a remote store is: a URL, or the path of a folder, and options of its file system."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot be the address of a store."""
        if "::" in self.url:
            raise ConfigError(
                f"{self.shown}: an address of several file systems ('::') is not supported; give "
                "the URL of the store itself"
            )
        if self.protocol in ("http", "https") and re.search(r"[?#]", self.url):
            raise ConfigError(
                f"{self.shown}: a store over HTTP is a folder, its URL ends without '?' and '#'"
            )

    @property
    def protocol(self) -> str:
        """What stands before `://`; "file" for a path."""
        name, mark, _ = self.url.partition("://")
        return name.lower() if mark else "file"

    @property
    def folder(self) -> Path | None:
        """The folder on this machine that is meant; None for any other file system."""
        if self.protocol not in ("file", "local"):
            return None
        return Path(self.url.partition("://")[2] or self.url).expanduser().absolute()

    @property
    def shown(self) -> str:
        """The URL without user, password and parameters."""
        if self.folder is not None:
            return self.url
        return re.sub(r"(?<=://)[^/]*@|[?#].*", "", self.url)

    def scrub(self, text: str) -> str:
        """A message of a library without the credentials that it may quote."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return re.sub(r"(?<=://)[^/\s]*@", "", text)

    def _secrets(self) -> set[str]:
        found = {str(value) for name, value in _flat(self.options) if SECRET.search(name)}
        user = re.match(r"[^:]*://([^/]*)@", self.url)
        if user:
            found |= {user[1], user[1].partition(":")[2]}
        found |= {part.partition("=")[2] or part for part in re.split(r"[?&#]", self.url)[1:]}
        return {known for value in found for known in (value, unquote(value)) if len(known) > 2}


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """Options as "name=value", a dot for what lies deeper: client_kwargs.region_name=eu-west-1.

    A value is JSON where it can be read as JSON, and text otherwise. Raises ConfigError.
    """
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not all(name.split(".")):
            # Not the text itself: somebody may have left out the name before a password.
            raise ConfigError(
                "--option: expected NAME=VALUE, such as endpoint_url=http://host:9000"
            )
        *outer, last = name.split(".")
        inner = options
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--option {name}: {part} has a value already")
        try:
            inner[last] = json.loads(value)
        except (ValueError, RecursionError):
            inner[last] = value
    return options


def _flat(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Name and value of every option, however deep."""
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        found += _flat(value) if isinstance(value, Mapping) else [(str(name), value)]
    return found
