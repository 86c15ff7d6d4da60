"""The home of Ray's user: who may log in as this user, and what the shell knows.

Code in the cluster may have put links into it. So everything in there is done as its owner, who
could have done the same; a link would make root write elsewhere.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tune_app.cloud import head_paths
from tune_app.cloud.node.token import token_file
from tune_app.cloud.overlay.access import Account
from tune_app.cloud.whole_files import write_file

RAY_WRITES = (".ray",)
"""Of the home, all that Ray's own processes write in, and so all that a task on the head can."""
SWEEP_WRITES = ("runs", ".stellux", ".cache", *RAY_WRITES)
"""Of the home, all that a sweep writes in."""

_SHELL_BEGIN = "# Stellux: begin"
_SHELL_END = "# Stellux: end"


def login_keys(login: str) -> str:
    """The public keys that let a user of this machine in. Raises ValueError for no user."""
    path = Account.of(login).home / ".ssh" / "authorized_keys"
    return path.read_text("utf-8") if path.is_file() else ""


def fill_home(owner: Account, *, keys: str, lines: str) -> None:
    """Lets keys in as the owner, whose shell finds the program. As root.

    Args:
        keys: lines of an authorized_keys file.
        lines: of the shell.
    """
    with owner.acting():
        _let_in(owner.home, keys)
        for name in SWEEP_WRITES:
            # The services that may write in these alone do not start without them.
            (owner.home / name).mkdir(mode=0o700, exist_ok=True)
        profile = owner.home / ".bashrc"
        write_file(profile, with_block(_text(profile), lines), mode=0o644)
        # A login shell reads this one alone.
        write_file(owner.home / ".profile", ". ~/.bashrc\n", mode=0o644)


def shut_out(owner: Account) -> None:
    """No key lets anybody in as the owner any more. As root."""
    with owner.acting():
        _let_in(owner.home, "")


def forget_token(owner: Account) -> None:
    """Makes Ray create a new token at its next start, which shuts out earlier nodes. As root."""
    with owner.acting():
        token_file(owner.home).unlink(missing_ok=True)


def shell_lines(store: str) -> str:
    """What Ray's user's shell has to know."""
    return "\n".join(
        [
            f"export PATH={head_paths.ENVIRONMENT}/bin:$PATH",
            f"export PYTHONPATH={head_paths.CODE}",
            "export RAY_AUTH_MODE=token",
            f"export STELLUX_CHECKPOINTS='{store}'",
        ]
    )


def with_block(text: str, lines: str) -> str:
    """A text with our lines between two marks, in the place of those that were there. Pure."""
    before, mark, rest = text.partition(_SHELL_BEGIN + "\n")
    after = rest.partition(_SHELL_END + "\n")[2] if mark else ""
    # First: a distribution's own .bashrc returns early where nobody types.
    return f"{_SHELL_BEGIN}\n{lines}\n{_SHELL_END}\n{before}{after}"


def _let_in(home: Path, keys: str) -> None:
    ssh = home / ".ssh"
    # What it leads to is not ours to write.
    if ssh.is_symlink():
        ssh.unlink()
    ssh.mkdir(mode=0o700, exist_ok=True)
    ssh.chmod(0o700)
    write_file(ssh / "authorized_keys", keys, mode=0o600)


def _text(path: Path) -> str:
    """What a file holds; nothing if it cannot be read, so that it is written again."""
    with suppress(OSError, UnicodeDecodeError):
        # Not of a pipe, which might never end.
        return path.read_text("utf-8") if path.is_file() else ""
    return ""
