"""Breaks one safeguard after another in a copy of the tree, and sees that a test notices.

python -m tests.mutations [NAME ...]     (make mutations)

A mutation that no test notices is an error. Nothing in this checkout is changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
NOTICED = 1
"""pytest's exit code for tests that failed; others mean that it could not run."""


def noticed(mutation: Mutation, folder: Path) -> bool:
    """Whether the mutation's test fails with it, in a copy of the tree that is mended again.

    Raises RuntimeError if the test could not run, or was skipped.
    """
    path = folder / mutation.path
    before = path.read_text("utf-8")
    path.write_text(mutation.applied(before), "utf-8")
    try:
        # Each test is named, so none is left out for its marker as pyproject.toml says.
        command = [sys.executable, "-m", "pytest", "-m", "", "-q", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, mutation.test],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(before, "utf-8")
    ran = done.returncode == NOTICED or (done.returncode == 0 and " passed" in done.stdout)
    if not ran:
        raise RuntimeError(f"{mutation.test} could not run:\n{done.stdout[-2_000:]}{done.stderr}")
    return done.returncode == NOTICED


def copy_tree(folder: Path) -> None:
    """Copies this checkout's files as git lists them, changed and new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def main(names: Sequence[str]) -> int:
    """0 if every mutation is noticed, 1 if not, 2 for a name that no mutation has."""
    chosen = [one for one in MUTATIONS if not names or one.name in names]
    unknown = sorted(set(names) - {one.name for one in MUTATIONS})
    if unknown:
        sys.stderr.write(f"unknown mutation {unknown[0]!r}; expected one of:\n")
        sys.stderr.writelines(f"  {one.name}\n" for one in MUTATIONS)
        return 2
    missed = 0
    with tempfile.TemporaryDirectory(prefix="stellux-mutations-") as name:
        copy_tree(Path(name))
        for mutation in chosen:
            started = time.monotonic()
            problem = ""
            try:
                word = "noticed" if noticed(mutation, Path(name)) else "NOT NOTICED"
            except RuntimeError as error:  # the others are judged all the same
                word, problem = "NOT JUDGED", f"{error}\n"
            missed += word != "noticed"
            took = time.monotonic() - started
            sys.stdout.write(f"{word:12} {took:5.1f} s  {mutation.name}\n{problem}")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - missed} of {len(chosen)} mutations are noticed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
