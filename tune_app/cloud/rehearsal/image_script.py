"""The start script of a rehearsal: it looks at its container, and tells by the instance's label.

The label is changed with the key that the market gives each instance for itself: whether that key
may do so is one of the things to find out, since the dead man's switch needs it.
"""

from __future__ import annotations

CHECKS = {
    "root": '[ "$(id -u)" = 0 ]',
    "apt": "apt-get --version",
    "sshd": "command -v sshd || [ -x /usr/sbin/sshd ]",
    "ssh": "command -v ssh",
    "flock": "command -v flock",
    "curl": "command -v curl",
    "gpu": "nvidia-smi",
    "env": "[ ${#STELLUX_LONG} = 256 ]",
    "key": '[ -n "$CONTAINER_API_KEY" ]',
}
"""Name → a test in shell."""
MARK = "+"
"""Between the label and what the container tells."""


def image_script(label: str, base_url: str, *, length: int) -> str:
    """The script, filled up to `length` characters: the longest that is assumed to be allowed."""
    lines = [
        "r=",
        't() { if eval "$2" >/dev/null 2>&1; then r="$r,$1=1"; else r="$r,$1=0"; fi; }',
        *(f"t {name} '{test}'" for name, test in CHECKS.items()),
        'curl -fsS -m 30 -X PUT -H "Authorization: Bearer $CONTAINER_API_KEY" '
        "-H 'Content-Type: application/json' "
        f'-d "{{\\"label\\": \\"{label}{MARK}${{r#,}}\\"}}" '
        f'{base_url}/api/v0/instances/"$CONTAINER_ID"/',
        "#",
    ]
    text = "\n".join(lines)
    return text + "x" * (length - len(text))


def told_by(label: str) -> dict[str, bool]:
    """What a container told by its label; empty if it did not."""
    parts = label.partition(MARK)[2].split(",")
    return {
        name: value == "1" for name, _, value in (part.partition("=") for part in parts) if name
    }
