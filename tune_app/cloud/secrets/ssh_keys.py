"""Pairs of SSH keys. The private half is never in an argument, a log or a readable file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tune_app.cloud.whole_files import write_file

_BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"
_END = "-----END OPENSSH PRIVATE KEY-----"
_PUBLIC = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{60,90}={0,2}")


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """An Ed25519 key."""

    public: str
    """`ssh-ed25519 AAAA…`, without comment."""
    private: str = field(repr=False)
    """The body of its file, between the first and the last line, in one line."""

    @classmethod
    def new(cls) -> KeyPair:
        """A new key."""
        import asyncssh  # noqa: PLC0415 - a third of a second, which most programs need not spend

        key = asyncssh.generate_private_key("ssh-ed25519")
        return cls.parse(key.export_private_key().decode("ascii"))

    @classmethod
    def parse(cls, text: str) -> KeyPair:
        """From the text of a private key's file. Raises ValueError if it is not one."""
        import asyncssh  # noqa: PLC0415

        try:
            key = asyncssh.import_private_key(text)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise ValueError(f"this is not a private key without a passphrase ({error})") from None
        public = " ".join(key.export_public_key().decode("ascii").split()[:2])
        lines = key.export_private_key().decode("ascii").split("\n")
        return cls(
            public=checked_public(public),
            private="".join(line for line in lines if not line.startswith("-----")),
        )

    @property
    def file_text(self) -> str:
        """What its file holds."""
        lines = [self.private[at : at + 70] for at in range(0, len(self.private), 70)]
        return "\n".join([_BEGIN, *lines, _END, ""])


def checked_public(text: str) -> str:
    """A public key, `ssh-ed25519 AAAA…`. Raises ValueError for anything else."""
    if not _PUBLIC.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a public key; expected 'ssh-ed25519 AAAA…'")
    return text


def key_file(path: Path) -> KeyPair:
    """The pair whose private half is at a path, created (0600) if missing.

    Raises ValueError if something else is there, OSError if it cannot be read or written.
    """
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        pair = KeyPair.new()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(path, pair.file_text, mode=0o600)
        return pair
    except UnicodeDecodeError:
        text = ""
    try:
        return KeyPair.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; move it away, and a new one is made") from None
