"""What a hostile worker's owner types into OpenSSH's sftp, with the worker's key to the store."""

from __future__ import annotations

from collections.abc import Iterable

SPOILT = "spoilt"
"""A file in the folder where sftp runs."""


def changes(paths: Iterable[str]) -> list[str]:
    """Lines that would each change what lies at a path: all its ways to, by this client."""
    return [
        line
        for path in paths
        for line in (
            f"put {SPOILT} {path}",  # truncates, then writes
            f"put -a {SPOILT} {path}",
            f"rm {path}",
            f"chmod 666 {path}",
            f"put {SPOILT} {path}",
            f"rename {path} {path}.gone",
            f"rename -l {path} {path}.gone",
        )
    ]


def script(lines: Iterable[str]) -> str:
    """For its standard input: it goes on after a line that fails, and says so on standard error."""
    return "".join(f"-{line}\n" for line in lines)
