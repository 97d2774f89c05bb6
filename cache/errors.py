"""Every error that hiprobe raises on purpose.

HiprobeError
├── ConfigError            a configuration, label file or option that cannot be right       exit 2
│   └── LeakageError       a row that is no training row came near selection or fit         exit 2
├── ItemError              one video (or interval) cannot be processed; the others go on    exit 3
│   └── SourceChanged      its file is not the one that was indexed: the next run tries     exit 3
├── StoreError
│   ├── NotAStore          the folder exists and is not a hiprobe store                     exit 2
│   ├── StoreTooNew        the store or a table was written by a newer hiprobe              exit 2
│   ├── MissingArtifact    an artifact was expected in the store and is not there           exit 5
│   │   └── EvictedArtifact    its record is there, its payload was given up                exit 5
│   └── DamagedArtifact    a committed file is gone, has another size or another digest     exit 5
├── Unreachable            a remote store cannot be reached, or the connection broke off    exit 1
└── RunStopped             the whole run cannot go on (disk full, everything fails)         exit 1
"""

from __future__ import annotations


class HiprobeError(Exception):
    """The base of every error below; its text is written for the person who runs hiprobe."""


class ConfigError(HiprobeError, ValueError):
    """A configuration, a label file or an option names something that cannot be right."""


class LeakageError(ConfigError):
    """A test video, or one of no split, would have a part in choosing or fitting the probe."""


class ItemError(HiprobeError):
    """One item cannot be processed: it becomes a failed row of the manifest, the rest goes on."""


class SourceChanged(ItemError):
    """A video was written, replaced or removed after it was indexed; nothing is made of it."""


class StoreError(HiprobeError):
    """Something is wrong with the store."""


class NotAStore(StoreError, ConfigError):
    """The folder that was given as a store holds something else."""


class StoreTooNew(StoreError, ConfigError):
    """A store or a table was written by a newer version than this one reads."""


class MissingArtifact(StoreError, FileNotFoundError):
    """An artifact that was asked for by key is not committed in this store."""


class EvictedArtifact(MissingArtifact):
    """An artifact whose payload was evicted is to be read; a run makes it again."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name
        """<stage>/<key>."""


class DamagedArtifact(StoreError):
    """A file that a commit lists is gone, or is not what the commit says."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name
        """<stage>/<key> of the artifact; empty where it is none of a store."""


class Unreachable(HiprobeError):
    """A remote store cannot be reached, or the connection broke off; what has arrived stays."""


class RunStopped(HiprobeError):
    """The whole run cannot go on; what is committed stays."""
