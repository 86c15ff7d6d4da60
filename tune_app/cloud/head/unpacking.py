"""Puts the program's source into place on the head: as a whole or not at all. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path

from tune_app.cloud.head.bundle import CODE
from tune_app.cloud.head_paths import PROGRAM

_SCRIPT = """\
set -eu
umask 022
mkdir -p {program}
cd {program}
# What earlier ones left, but for those that may still be under way.
find . -maxdepth 1 -name 'incoming-*' -mmin +1440 -exec rm -rf {{}} +
mkdir {incoming}
tar -xzf - -C {incoming}
exec 9>{code}.lock
flock 9
if [ ! -d {name} ]; then
  # Its name says that it is whole: a machine that goes down must not keep the name alone.
  sync -f {incoming}
  mv -T {incoming}/{code} {name}
fi
rm -rf {incoming}/{code}
if [ -L {code} ]; then before=$(readlink {code}); else before=; rm -rf {code}; fi
# A link is replaced at once; there is no moment without the program.
ln -sfn {name} {code}.new
mv -T {code}.new {code}
sync -f {name}
for folder in {code}-*; do
  case $folder in {name} | "$before") ;; *) rm -rf "$folder" ;; esac
done
"""


def unpack_script(name: str, incoming: Path, program: Path = PROGRAM) -> str:
    """A shell's script that reads a bundle and has `code` lead to what was in it.

    The settings stay in the incoming folder. The source before it stays too, for what runs.

    Args:
        name: of the source: see `bundle.code_name`.
        incoming: a folder of the program's that is not there yet.
    """
    quoted = {"program": program, "name": name, "incoming": incoming, "code": CODE}
    return _SCRIPT.format(**{key: shlex.quote(str(word)) for key, word in quoted.items()})
