"""Which host over SFTP is the one that is meant: the one whose key the user knows already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


def only_known_hosts() -> Any:
    """A paramiko policy that refuses a host that `ssh` would ask about.

    fsspec trusts any host at the first connection by default, so that anybody in between could be
    the store. Raises ImportError where paramiko is missing.
    """
    import paramiko

    class OnlyKnown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc,unused-ignore]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            for path in map(Path.expanduser, map(Path, KNOWN_HOSTS)):
                known = paramiko.HostKeys(str(path)) if path.exists() else paramiko.HostKeys()
                if known.check(hostname, key):
                    return
            raise PermissionError(
                f"the host key of {hostname} is not in {KNOWN_HOSTS[0]}: connect once with sftp or "
                "ssh, or give --option host_key_policy=auto_add to trust whoever answers"
            )

    return OnlyKnown()
