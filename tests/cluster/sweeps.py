"""A small sweep as the laptop's user starts it on the cluster, and its journal as they read it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.workspace import Size, space_text, write_corpus
from tests.cluster.stage import Stage
from tune_app.journal.journal import Journal
from tune_app.sweep.folder import JOURNAL

HOME = "/home/stellux"
SPACE, CORPUS = f"{HOME}/small.py", f"{HOME}/corpus"
_TRAINED = """\
select coalesce(sum(most), 0)
from (select max(tokens) as most from observations group by cell)"""
CLOUD = "python -m tune_app.cloud"


@dataclass(frozen=True, kw_only=True)
class SmallSweep:
    """Six cells or more of 60k parameters, none of which is stopped early."""

    stage: Stage
    size: Size
    name: str = "small"

    @property
    def options(self) -> str:
        seeds = " ".join(f"--seeds {seed}" for seed in range(self.size.seeds))
        return (
            f"{SPACE} --name {self.name} {seeds} --scheduler none --kill-rule off "
            "--checkpoint-every 5"
        )

    def send(self) -> None:
        """Puts space and corpus on the head, as a user does with files of their own."""
        laptop = self.stage.laptop
        folder = laptop.path("/root") / "corpus"
        folder.mkdir()
        write_corpus(folder)
        laptop.path("/root/small.py").write_text(space_text(self.size, CORPUS), "utf-8")
        for source, target in (("/root/small.py", SPACE), ("/root/corpus/", f"{CORPUS}/")):
            self.stage.at_laptop("ray", "rsync-up", "/root/cluster.yaml", source, target)

    def start(self, log: Path) -> None:
        """From the laptop, which then leaves: its SSH session is ended, the sweep goes on."""
        command = f"{CLOUD} start --cluster /root/cluster.yaml {self.options}"
        session = self.stage.start_at_laptop(*command.split(), log=log)
        self.stage.wait_for(lambda: self.running() or session.poll() is not None)
        assert self.running(), log.read_text("utf-8", "replace")
        session.kill()

    def running(self) -> bool:
        state = self.stage.head.run(["systemctl", "is-active", "stellux-sweep"], check=False)
        return state.stdout.strip() in {"active", "activating"}

    def log(self) -> str:
        """What the sweep has said on the head."""
        path = self.stage.head.path(f"{HOME}/.stellux/sweep.log")
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def journal(self, copies: Path, name: str = "") -> Journal:
        """Its journal as it is now, copied with what is not in the main file yet."""
        copies.mkdir(parents=True, exist_ok=True)
        for path in self._journal_files(name or self.name):
            shutil.copy(path, copies / path.name)
        return Journal.open(copies / JOURNAL, read_only=True)

    def tokens(self) -> int:
        """Trained so far, by all cells together; 0 before there is a journal."""
        # A copy: SQLite follows the path's links, and this one's lead out of the machine.
        with TemporaryDirectory() as folder:
            for path in self._journal_files(self.name):
                shutil.copy(path, folder)
            try:
                with closing(sqlite3.connect(Path(folder) / JOURNAL)) as journal:
                    return int(journal.execute(_TRAINED).fetchone()[0])
            except sqlite3.OperationalError:  # it is being made
                return 0

    def _journal_files(self, name: str) -> list[Path]:
        return sorted(self.stage.head.path(f"{HOME}/runs/{name}").glob(f"{JOURNAL}*"))

    def run_undisturbed(self) -> None:
        """The same sweep on the head alone, under the name `alone`, after the cluster is gone."""
        words = self.options.replace(f"--name {self.name}", "--name alone")
        line = f"unset STELLUX_CHECKPOINTS; python -m tune_app.sweep {words} --cells-at-once 2"
        self.stage.at_head(line)
