#!/usr/bin/env python3
"""Plays systemd on a machine without it: systemctl, and journalctl under that name.

Stand-alone, of the standard library alone. Each unit has a supervisor of its own, which adopts
whatever its service leaves behind and so can end all of it. A directive that is not known is an
error: a unit is run as it is meant, or not at all.

SYSTEMCTL_UNITS, SYSTEMCTL_RUN, SYSTEMCTL_LOGS, SYSTEMCTL_RUNTIME and SYSTEMCTL_STATE name other
folders than /etc/systemd/system, /run/units, /var/log/units, /run and /var/lib.
"""

from __future__ import annotations

import ctypes
import fcntl
import grp
import json
import os
import pwd
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

UNITS = Path(os.environ.get("SYSTEMCTL_UNITS", "/etc/systemd/system"))
RUN = Path(os.environ.get("SYSTEMCTL_RUN", "/run/units"))
LOGS = Path(os.environ.get("SYSTEMCTL_LOGS", "/var/log/units"))
RUNTIME = Path(os.environ.get("SYSTEMCTL_RUNTIME", "/run"))
STATE = Path(os.environ.get("SYSTEMCTL_STATE", "/var/lib"))

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN_SIGNALS = {"HUP", "INT", "TERM", "PIPE"}
STOPPING = (signal.SIGTERM, signal.SIGINT)
BLOCKED = (*STOPPING, signal.SIGCHLD)
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
HOMES = ("-/home", "-/root", "-/run/user")

HONOURED = {
    "Unit": "Description Documentation After Before Requires Wants StartLimitIntervalSec "
    "StartLimitBurst",
    "Service": "Type RemainAfterExit User Group SupplementaryGroups WorkingDirectory Environment "
    "EnvironmentFile ExecStartPre ExecStart ExecStartPost ExecReload ExecStop ExecStopPost "
    "StandardInput StandardOutput StandardError RuntimeDirectory RuntimeDirectoryMode "
    "RuntimeDirectoryPreserve StateDirectory StateDirectoryMode Restart RestartSec "
    "RestartPreventExitStatus SuccessExitStatus KillMode TimeoutStopSec LimitCORE LimitNOFILE "
    "UMask NoNewPrivileges ProtectHome ReadOnlyPaths ReadWritePaths",
    "Install": "WantedBy",
}
# What keeps a service from something, or orders it among what this machine does not have.
IGNORED = {
    "Unit": "DefaultDependencies Conflicts",
    "Service": "ProtectSystem ProtectControlGroups ProtectProc PrivateTmp "
    "InaccessiblePaths PrivateNetwork ProtectHostname RemoveIPC "
    "CapabilityBoundingSet OOMPolicy OOMScoreAdjust TasksMax Nice "
    "TimeoutStartSec PrivateDevices ProtectKernelTunables ProtectKernelModules ProtectKernelLogs "
    "ProtectClock RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID "
    "LockPersonality SystemCallArchitectures SystemCallFilter MemoryDenyWriteExecute",
    "Install": "",
}
# Of these, systemd says that they imply NoNewPrivileges where a service has a User.
NO_PRIVILEGES = set(IGNORED["Service"].partition("TimeoutStartSec ")[2].split())
CHOICES = {
    "Type": {"simple", "exec", "oneshot"},
    "Restart": {"no", "always", "on-failure"},
    "KillMode": {"control-group", "mixed", "process"},
}


class UnitError(Exception):
    """A unit that is not there, or that cannot be played. Carries systemctl's exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@dataclass(frozen=True)
class Unit:
    """A service as its file says it."""

    name: str
    values: dict[str, dict[str, list[str]]]

    @classmethod
    def load(cls, name: str, verb: str = "start") -> Unit:
        name = name if "." in name else f"{name}.service"
        path = UNITS / name
        if not path.is_file():
            raise UnitError(f"Failed to {verb} {name}: Unit {name} not found.", 5)
        return cls(name, read_unit(path))

    def all(self, key: str, section: str = "Service") -> list[str]:
        return self.values[section].get(key, [])

    def words(self, key: str, section: str = "Service") -> list[str]:
        return [word for line in self.all(key, section) for word in line.split()]

    def one(self, key: str, default: str = "", section: str = "Service") -> str:
        return self.all(key, section)[-1] if self.all(key, section) else default

    def flag(self, key: str) -> bool:
        return self.one(key, "no") in {"yes", "true", "on", "1"}

    @property
    def state_path(self) -> Path:
        return RUN / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def state(self) -> dict[str, Any]:
        """What its supervisor last said; inactive where there is none any more."""
        try:
            state: dict[str, Any] = json.loads(self.state_path.read_text("utf-8"))
        except FileNotFoundError:
            state = {"ActiveState": "inactive", "SubState": "dead"}
        if state.get("supervisor") and not alive(state["supervisor"], state["born"]):
            ended = {"supervisor": 0, "MainPID": 0}
            if state["ActiveState"] not in {"inactive", "failed"}:
                ended |= {"ActiveState": "failed", "SubState": "failed", "Result": "signal"}
            state |= ended
        return state

    @property
    def active(self) -> bool:
        return self.state()["ActiveState"] in {"active", "activating", "deactivating"}

    def links(self) -> list[Path]:
        return [
            UNITS / f"{target}.wants" / self.name for target in self.words("WantedBy", "Install")
        ]

    @property
    def enabled(self) -> str:
        links = self.links()
        if not links:
            return "static"
        return "enabled" if any(link.is_symlink() for link in links) else "disabled"

    def needs(self, key: str) -> list[str]:
        """Services that it names. Of what is no service, or only wanted, some may be missing."""
        named = [name for name in self.words(key, "Unit") if name.endswith(".service")]
        if key == "Requires":
            return named
        return [name for name in named if (UNITS / name).is_file()]


def read_unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Its sections. An empty value forgets those before it, as systemd does."""
    values: dict[str, dict[str, list[str]]] = {name: {} for name in HONOURED}
    section = ""
    for line in map(str.strip, path.read_text("utf-8").replace("\\\n", " ").splitlines()):
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        known = f"{HONOURED.get(section, '')} {IGNORED.get(section, '')}".split()
        if not equals or key not in known:
            raise UnitError(f"{path}: cannot play {line!r} in section [{section}]")
        if key in CHOICES and value not in CHOICES[key]:
            raise UnitError(f"{path}: cannot play {line!r}")
        values[section].setdefault(key, [])
        values[section][key] = [*values[section][key], value] if value else []
    if not values["Service"].get("ExecStart"):
        raise UnitError(f"{path}: there is no ExecStart")
    return values


def seconds(text: str, default: float) -> float:
    """A time span as units have it: 5, 5s, 1min 30s, 200ms, infinity."""
    if not text:
        return default
    if text == "infinity":
        return float("inf")
    sizes = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "min": 60.0, "h": 3600.0}
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    if not parts or any(size not in sizes for _, size in parts):
        raise UnitError(f"{text!r} is no time span")
    return sum(float(number) * sizes[size] for number, size in parts)


# --- Processes ------------------------------------------------------------------------------------


def stat(pid: int) -> tuple[str, int, int] | None:
    """State, parent and time of birth of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[19])


def alive(pid: int, born: int) -> bool:
    found = stat(pid)
    return found is not None and found[0] != "Z" and found[2] == born


def descendants(root: int) -> set[int]:
    """Everything that runs under a process, at any depth."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        found = stat(int(entry.name))
        if found is not None and found[0] != "Z":
            children.setdefault(found[1], []).append(int(entry.name))
    seen: set[int] = set()
    todo = [root]
    while todo:
        fresh = set(children.get(todo.pop(), [])) - seen
        seen |= fresh
        todo += fresh
    return seen


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def set_process(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def check(answer: int, what: str) -> None:
    """Raises OSError where a call of the C library has failed."""
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def write_only_where_allowed(unit: Unit) -> None:
    """From here on, the process sees its closed folders read-only, but for the open ones in them.

    Of ProtectHome, read-only alone is played. As root; others see no difference.
    """
    closed = unit.words("ReadOnlyPaths")
    closed += HOMES if unit.one("ProtectHome") == "read-only" else ()
    if not closed or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.unshare(CLONE_NEWNS), "unshare")
    libc.mount.argtypes = (*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    shut = {name.lstrip("-"): MS_RDONLY for name in closed}
    opened = {
        name.lstrip("-"): 0
        for name in unit.words("ReadWritePaths")
        if any(Path(folder) in Path(name.lstrip("-")).parents for folder in shut)
    }
    needed = {name for name in [*closed, *unit.words("ReadWritePaths")] if name[0] != "-"}
    # What is further in comes later, and holds there.
    for name, flag in sorted((shut | opened).items(), key=lambda item: len(Path(item[0]).parts)):
        if name not in needed and not Path(name).exists():
            continue
        path = os.fsencode(name)
        check(libc.mount(path, path, None, MS_BIND | MS_REC, None), f"mount {name}")
        check(libc.mount(None, path, None, MS_REMOUNT | MS_BIND | flag, None), f"remount {name}")


class EndedError(Exception):
    """The service was told to stop while it started."""


class Supervisor:
    """Runs one service, again and again where its unit says so, until it is told to stop."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._stopping = False
        self._codes: dict[int, int] = {}
        self._said: dict[str, Any] = {
            "supervisor": os.getpid(),
            "born": (stat(os.getpid()) or ("", 0, 0))[2],
            "NRestarts": 0,
            "MainPID": 0,
            "Result": "success",
            "ExecMainStatus": 0,
        }

    def tell(self, active: str, sub: str, **more: Any) -> None:
        self._said |= {"ActiveState": active, "SubState": sub, "since": time.time(), **more}
        write(self._unit.state_path, json.dumps(self._said))

    def run(self) -> None:
        starts: list[float] = []
        interval = seconds(self._unit.one("StartLimitIntervalSec", section="Unit"), 10.0)
        burst = int(self._unit.one("StartLimitBurst", "5", section="Unit"))
        while True:
            starts = [at for at in starts if time.monotonic() - at < interval]
            if len(starts) >= burst:
                return self.tell("failed", "failed", Result="start-limit-hit", MainPID=0)
            starts.append(time.monotonic())
            again = self._once()
            if self._stopping or not again:
                result = self._said["Result"]
                if self._stopping and result != "timeout":
                    result = "success"
                active = "inactive" if result == "success" else "failed"
                self._remove_runtime()
                return self.tell(active, "dead", Result=result, MainPID=0)
            self.tell("activating", "auto-restart", MainPID=0)
            self._wait(seconds(self._unit.one("RestartSec"), 0.1), lambda: self._stopping)
            if self._stopping:
                self._remove_runtime()
                return self.tell("inactive", "dead", Result="success")
            self._said["NRestarts"] += 1

    def _once(self) -> bool:
        """Starts, waits, tidies up. Returns whether it is to be started again."""
        unit = self._unit
        self.tell("activating", "start-pre", MainPID=0, started=False)
        code, killed = 0, False
        try:
            for line in unit.all("ExecStartPre"):
                code = code or self._control(line)
            if code == 0:
                code = self._main()
            if self._stopping and self._said["MainPID"]:
                for line in unit.all("ExecStop"):
                    self._control(line, MAINPID=str(self._said["MainPID"]), whole=True)
        except EndedError:
            pass
        killed = self._end_processes()
        code = self._codes.get(self._said["MainPID"], code)
        result = "success" if self._clean(code) else ("signal" if code < 0 else "exit-code")
        if killed and self._stopping:
            result = "timeout"
        self._said |= {"Result": result, "ExecMainStatus": abs(code)}
        for line in unit.all("ExecStopPost"):
            self._control(line, SERVICE_RESULT=result, EXIT_STATUS=str(abs(code)), whole=True)
        self._end_processes()
        return self._restarts(code, result)

    def _main(self) -> int:
        """All of ExecStart and what comes after it, until the service has ended or must end."""
        unit = self._unit
        oneshot = unit.one("Type", "simple") == "oneshot"
        if not oneshot:
            main = self._spawn(unit.one("ExecStart"))
            self.tell("activating", "start-post", MainPID=main)
        else:
            for line in unit.all("ExecStart"):
                if (code := self._control(line)) != 0:
                    return code
        for line in unit.all("ExecStartPost"):
            if (code := self._control(line)) != 0:
                return code
        if not oneshot:
            self.tell("active", "running", started=True)
            self._wait(None, lambda: self._stopping or main in self._codes)
            return self._codes.get(main, 0)
        if unit.flag("RemainAfterExit"):
            self.tell("active", "exited", started=True)
            self._wait(None, lambda: self._stopping)
            for line in unit.all("ExecStop"):
                self._control(line, whole=True)
        self._said["started"] = True
        return 0

    def _clean(self, code: int) -> bool:
        name = signal.Signals(-code).name.removeprefix("SIG") if code < 0 else str(code)
        listed = {word.removeprefix("SIG") for word in self._unit.words("SuccessExitStatus")}
        return code == 0 or name in listed or (code < 0 and name in CLEAN_SIGNALS)

    def _restarts(self, code: int, result: str) -> bool:
        name = signal.Signals(-code).name if code < 0 else str(code)
        if name in self._unit.words("RestartPreventExitStatus"):
            return False
        wish = self._unit.one("Restart", "no")
        return wish == "always" or (wish == "on-failure" and result != "success")

    def _control(self, line: str, *, whole: bool = False, **variables: str) -> int:
        """Runs a command beside the service; returns its exit code, 0 where it may fail.

        Raises EndedError where the service is told to stop before its end begins.
        """
        pid = self._spawn(line, **variables)
        limit = seconds(self._unit.one("TimeoutStopSec"), 90.0) if whole else None
        self._wait(limit, lambda: pid in self._codes or (self._stopping and not whole))
        if pid not in self._codes:
            send([pid], signal.SIGTERM)
            if not whole:
                raise EndedError
        return 0 if line.startswith("-") else self._codes.get(pid, 1)

    def _spawn(self, line: str, **variables: str) -> int:
        pid = os.fork()
        if pid == 0:
            become(self._unit, line, variables)
        return pid

    def _end_processes(self) -> bool:
        """Ends what KillMode says. Returns whether something had to be killed."""
        mode, main = self._unit.one("KillMode", "control-group"), self._said["MainPID"]
        told: set[int] = set()

        def gone() -> bool:
            left = descendants(os.getpid())
            if mode == "process" or (mode == "mixed" and main in left):
                left &= {main}
            elif mode == "mixed":
                send(left, signal.SIGKILL)
            send(left - told, signal.SIGTERM)
            told.update(left)
            return not left

        if self._wait(seconds(self._unit.one("TimeoutStopSec"), 90.0), gone, every=0.02):
            return False

        def killed() -> bool:
            left = descendants(os.getpid())
            left = left & {main} if mode == "process" else left
            send(left, signal.SIGKILL)
            return not left

        self._wait(10.0, killed, every=0.02)
        return True

    def _wait(self, limit: float | None, holds: Callable[[], bool], every: float = 0.5) -> bool:
        """Until something holds, reaping meanwhile. Returns whether it does."""
        end = time.monotonic() + (float("inf") if limit is None else limit)
        while True:
            self._reap()
            if holds():
                return True
            left = min(every, end - time.monotonic())
            if left <= 0:
                return False
            arrived = signal.sigtimedwait(BLOCKED, left)
            if arrived is not None and arrived.si_signo in STOPPING and not self._stopping:
                self._stopping = True
                self.tell("deactivating", "stop")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._codes[pid] = os.waitstatus_to_exitcode(status)

    def _remove_runtime(self) -> None:
        if not self._unit.flag("RuntimeDirectoryPreserve"):
            for name in self._unit.words("RuntimeDirectory"):
                shutil.rmtree(RUNTIME / name, ignore_errors=True)


def become(unit: Unit, line: str, variables: dict[str, str]) -> NoReturn:
    """What the forked process of a service does until it is another program."""
    code = 203
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.setsid()
        open_streams(unit)
        # From here on, what goes wrong stands in the log.
        code = 217
        wanted = unit.one("User")
        account = pwd.getpwnam(wanted) if wanted else pwd.getpwuid(os.geteuid())
        group = grp.getgrnam(unit.one("Group")).gr_gid if unit.one("Group") else account.pw_gid
        for key, base in (("RuntimeDirectory", RUNTIME), ("StateDirectory", STATE)):
            for name in unit.words(key):
                make_folder(base / name, unit.one(f"{key}Mode", "0755"), account.pw_uid, group)
        environment = environment_of(unit, account) | variables
        environment |= {"PWD": unit.one("WorkingDirectory", "/")}
        prefix = re.match(r"[-+@!:]*", line)
        marks = prefix[0] if prefix else ""
        assert set(marks) <= {"-", "+"}, f"cannot play {line!r}"
        words = [expanded(word, environment) for word in shlex.split(line[len(marks) :])]
        for name in ("CORE", "NOFILE"):
            limit(name, unit.one(f"Limit{name}"))
        os.umask(int(unit.one("UMask", "0022"), 8))
        if "+" not in marks:
            code = 226
            write_only_where_allowed(unit)
            code = 217
            if account.pw_uid != os.geteuid() or group != os.getegid():
                os.setgroups(groups_of(unit, account, group))
                os.setgid(group)
                os.setuid(account.pw_uid)
            implied = wanted and NO_PRIVILEGES & set(unit.values["Service"])
            if unit.flag("NoNewPrivileges") or implied:
                set_process(PR_SET_NO_NEW_PRIVS, 1)
        code = 200
        folder = unit.one("WorkingDirectory", "/")
        os.chdir(account.pw_dir if folder == "~" else folder)
        code = 203
        program = words[0] if "/" in words[0] else shutil.which(words[0], path=SEARCH) or words[0]
        os.execve(program, words, environment)
    except BaseException as error:
        sys.stderr.write(f"{unit.name}: {line}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def open_streams(unit: Unit) -> None:
    """Opens them as root, before the service has its user."""

    def target(text: str) -> tuple[str, int]:
        kind, _, path = text.partition(":")
        if kind in {"journal", "inherit", ""}:
            return str(unit.log), os.O_APPEND
        if kind == "null":
            return "/dev/null", 0
        if kind not in {"append", "file", "truncate"}:
            raise UnitError(f"cannot play the output {text!r}")
        return path, {"append": os.O_APPEND, "file": 0, "truncate": os.O_TRUNC}[kind]

    kind, _, path = unit.one("StandardInput", "null").partition(":")
    if kind not in {"null", "file"}:
        raise UnitError(f"cannot play the input {kind!r}")
    told = unit.one("StandardOutput", "journal")
    for number, text in ((1, told), (2, unit.one("StandardError", told))):
        name, flags = target(text)
        stream = os.open(name, os.O_WRONLY | os.O_CREAT | flags, 0o644)
        os.dup2(stream, number)
        os.close(stream)
    stream = os.open(path or "/dev/null", os.O_RDONLY)
    os.dup2(stream, 0)
    os.close(stream)


def groups_of(unit: Unit, account: pwd.struct_passwd, group: int) -> list[int]:
    more = [grp.getgrnam(name).gr_gid for name in unit.words("SupplementaryGroups")]
    return [*os.getgrouplist(account.pw_name, group), *more]


def make_folder(path: Path, mode: str, user: int, group: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(path, user, group)
    path.chmod(int(mode, 8))


def limit(name: str, text: str) -> None:
    if text:
        number = resource.RLIM_INFINITY if text == "infinity" else int(text)
        kind = getattr(resource, f"RLIMIT_{name}")
        try:
            resource.setrlimit(kind, (number, number))
        except ValueError:  # root of a container may not raise what it was given
            most = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most, most))


def environment_of(unit: Unit, account: pwd.struct_passwd) -> dict[str, str]:
    """A service's environment: nothing of who started it."""
    values = {"PATH": SEARCH, "LANG": "C.UTF-8"}
    if unit.one("User"):
        values |= {"USER": account.pw_name, "LOGNAME": account.pw_name}
        values |= {"HOME": account.pw_dir, "SHELL": account.pw_shell}
    pairs = [pair for line in unit.all("Environment") for pair in shlex.split(line)]
    for name in unit.all("EnvironmentFile"):
        path = Path(name.removeprefix("-"))
        if not name.startswith("-") or path.exists():
            pairs += assignments(path.read_text("utf-8"))
    return values | dict(pair.split("=", 1) for pair in pairs)


def assignments(text: str) -> list[str]:
    """What an EnvironmentFile holds; quotes around a value are taken off."""
    lines = [line.strip() for line in text.splitlines()]
    return [re.sub(r"""=(["'])(.*)\1$""", r"=\2", line) for line in lines if line[:1] not in "#;"]


def expanded(word: str, environment: dict[str, str]) -> str:
    """${NAME}, and a word that is $NAME; %% and $$ stand for themselves."""
    if re.search(r"%[^%]", word):
        raise UnitError(f"cannot play the specifier in {word!r}")
    if re.fullmatch(r"\$\w+", word):
        return environment.get(word[1:], "")
    word = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), word)
    return word.replace("%%", "%").replace("$$", "$")


def write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


# --- systemctl ------------------------------------------------------------------------------------


@contextmanager
def job(unit: Unit) -> Iterator[None]:
    """One thing is done to a unit at a time."""
    RUN.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with (RUN / f"{unit.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ordered(names: Iterable[str]) -> list[Unit]:
    """Units and all they need, each after those that it names in After and that name it in Before.

    Raises UnitError for a circle.
    """
    units: dict[str, Unit] = {}
    todo = list(names)
    while todo:
        unit = Unit.load(todo.pop())
        if unit.name not in units:
            units[unit.name] = unit
            todo += [*unit.needs("Requires"), *unit.needs("Wants")]
    before = {name: set(unit.needs("After")) & set(units) for name, unit in units.items()}
    for name, unit in units.items():
        for later in set(unit.needs("Before")) & set(units):
            before[later].add(name)
    done: list[Unit] = []
    while before:
        free = sorted(name for name, others in before.items() if not others & set(before))
        if not free:
            raise UnitError(f"ordering cycle among {', '.join(sorted(before))}")
        done += [units[name] for name in free]
        before = {name: others for name, others in before.items() if name not in free}
    return done


def start(names: Iterable[str], *, block: bool = True) -> int:
    asked = {Unit.load(name).name for name in names}
    failed: set[str] = set()
    for unit in ordered(asked):
        missing = failed & set(unit.needs("Requires"))
        if missing or not start_one(unit, block=block):
            failed.add(unit.name)
            why = f"a dependency failed: {', '.join(missing)}" if missing else "see its log"
            sys.stderr.write(f"Job for {unit.name} failed ({why}): {unit.log}\n")
    return 1 if failed & asked else 0


def start_one(unit: Unit, *, block: bool) -> bool:
    """Returns whether it runs, or ran to its end."""
    with job(unit):
        state = unit.state()
        if state["ActiveState"] == "active":
            return True
        if state.get("supervisor"):
            end_supervisor(unit)
        unit.state_path.unlink(missing_ok=True)
        supervise(unit)
        while True:
            state = unit.state()
            ended = state["ActiveState"] in {"inactive", "failed"}
            # What was read, and not what is there by now.
            told = "born" in state
            if told and (state.get("started") or ended or state["SubState"] == "auto-restart"):
                # As with systemd, what only ran for a moment was started all the same.
                return bool(state.get("started"))
            if not block and told:
                return True
            time.sleep(0.01)


def supervise(unit: Unit) -> None:
    """Leaves a supervisor behind that belongs to nobody."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        os.closerange(3, 1024)
        trouble = os.open(RUN / f"{unit.name}.trouble", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(trouble, 2)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        set_process(PR_SET_CHILD_SUBREAPER, 1)
        Supervisor(unit).run()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(0)


def end_supervisor(unit: Unit) -> None:
    state = unit.state()
    while state.get("supervisor"):
        if state["ActiveState"] != "deactivating":
            send([state["supervisor"]], signal.SIGTERM)
        time.sleep(0.02)
        state = unit.state()


def own_files() -> list[Path]:
    """Files of units. A link is another name of one that the machine's distribution brought."""
    return [path for path in sorted(UNITS.glob("*.service")) if not path.is_symlink()]


def dependents(unit: Unit) -> list[Unit]:
    """What runs and requires a unit."""
    others = (Unit.load(path.name) for path in own_files())
    return [other for other in others if unit.name in other.needs("Requires") and other.active]


def stop(names: Iterable[str], *, block: bool = True) -> list[str]:
    """Returns what was stopped, with what required it."""
    stopped: list[str] = []
    for unit in [Unit.load(name, "stop") for name in names]:
        if not unit.active:
            continue
        stopped += [*stop([other.name for other in dependents(unit)]), unit.name]
        if not block:
            send([unit.state()["supervisor"]], signal.SIGTERM)
            continue
        with job(unit):
            end_supervisor(unit)
    return stopped


def restart(names: list[str], *, block: bool = True) -> int:
    for name in names:
        Unit.load(name, "restart")
    return start({*names, *stop(names)}, block=block)


def reload(names: Iterable[str]) -> int:
    for unit in [Unit.load(name, "reload") for name in names]:
        lines = unit.all("ExecReload")
        if not lines or unit.state()["ActiveState"] != "active":
            raise UnitError(
                f"Failed to reload {unit.name}: it is not active, or has no ExecReload."
            )
        for line in lines:
            done = subprocess.run(shlex.split(line), check=False)
            if done.returncode != 0:
                return 1
    return 0


def reload_or_restart(names: Iterable[str], *, block: bool = True) -> int:
    """Reloads what is active and can be, and restarts or starts the rest."""
    units = [Unit.load(name, "reload-or-restart") for name in names]
    ready = [
        unit.name
        for unit in units
        if unit.all("ExecReload") and unit.state()["ActiveState"] == "active"
    ]
    others = [unit.name for unit in units if unit.name not in ready]
    return reload(ready) or (restart(others, block=block) if others else 0)


def enable(unit: Unit) -> None:
    for link in unit.links():
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(UNITS / unit.name)
            sys.stderr.write(f"Created symlink {link} → {UNITS / unit.name}.\n")


def disable(unit: Unit) -> None:
    for link in unit.links():
        if link.is_symlink():
            link.unlink()
            sys.stderr.write(f"Removed {link}.\n")


def boot() -> int:
    """What a machine does as it starts: nothing runs, and all that is enabled shall."""
    shutil.rmtree(RUN, ignore_errors=True)
    wanted = sorted({link.name for link in UNITS.glob("*.wants/*.service")})
    return start([name for name in wanted if (UNITS / name).is_file()])


def properties(name: str) -> dict[str, str]:
    name = name if "." in name else f"{name}.service"
    try:
        unit = Unit.load(name)
    except UnitError:
        return {"Id": name, "LoadState": "not-found", "ActiveState": "inactive", "MainPID": "0"}
    shown = {"NRestarts": 0, "MainPID": 0, "Result": "success", "ExecMainStatus": 0} | unit.state()
    return {
        "Id": unit.name,
        "Description": unit.one("Description", section="Unit"),
        "LoadState": "loaded",
        "UnitFileState": unit.enabled,
        "FragmentPath": str(UNITS / unit.name),
        **{key: str(value) for key, value in shown.items() if key[0].isupper()},
    }


def status(names: Iterable[str], lines: int) -> int:
    code = 0
    for name in names:
        shown = properties(name)
        if shown["LoadState"] == "not-found":
            sys.stderr.write(f"Unit {shown['Id']} could not be found.\n")
            code = 4
            continue
        unit = Unit.load(name)
        say(f"● {unit.name} - {shown['Description']}")
        say(f"     Loaded: loaded ({shown['FragmentPath']}; {shown['UnitFileState']})")
        say(f"     Active: {shown['ActiveState']} ({shown['SubState']}), {shown['Result']}")
        say(f"   Main PID: {shown['MainPID']}, {shown['NRestarts']} restarts\n")
        for line in tail(unit.log, lines):
            say(line)
        code = code or (0 if shown["ActiveState"] == "active" else 3)
    return code


def tail(path: Path, lines: int) -> list[str]:
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    return text.splitlines()[-lines:] if lines else []


@dataclass
class Options:
    names: list[str]
    now: bool = False
    block: bool = True
    quiet: bool = False
    value: bool = False
    lines: int = 10
    wanted: tuple[str, ...] = ()


def read_options(words: list[str]) -> Options:
    options, rest = Options([]), iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in {"-u", "-n", "-o", "-p", "--unit", "--lines", "--output", "--property"}:
            value = value if equals else next(rest, "")
        if name in {"-p", "--property"}:
            options.wanted += tuple(value.split(","))
        elif name in {"-n", "--lines"}:
            options.lines = int(value)
        elif name in {"-u", "--unit"}:
            options.names.append(value)
        elif name in {"--now", "--value"}:
            setattr(options, name[2:], True)
        elif name in {"-q", "--quiet"}:
            options.quiet = True
        elif name == "--no-block":
            options.block = False
        elif name in {"-o", "--output", "--no-pager", "-l", "--full", "-e", "--no-ask-password"}:
            continue
        elif word.startswith("-"):
            raise UnitError(f"unrecognized option '{word}'")
        else:
            options.names.append(word)
    return options


def show(options: Options) -> int:
    for name in options.names:
        shown = properties(name)
        for key in options.wanted or tuple(shown):
            value = shown.get(key, "")
            say(value if options.value else f"{key}={value}")
    return 0


def query(options: Options, code: int, good: set[str], word: Callable[[str], str]) -> int:
    """is-active and is-enabled: 0 where all of them are."""
    words = [word(name) for name in options.names]
    for each in words:
        if not options.quiet:
            say(each)
    return 0 if words and set(words) <= good else code


def toggle(verb: str, options: Options) -> int:
    units = [Unit.load(name, verb) for name in options.names]
    for unit in units:
        (enable if verb == "enable" else disable)(unit)
    if not options.now:
        return 0
    if verb == "enable":
        return start(options.names, block=options.block)
    stop(options.names, block=options.block)
    return 0


def journal(options: Options) -> int:
    for name in options.names:
        for line in tail(Unit.load(name, "show").log, options.lines):
            say(line)
    return 0


def main(words: list[str], program: str) -> int:
    verb = "" if program == "journalctl" else next(iter(words), "")
    options = read_options(words[1:] if verb else words)
    names = options.names
    verbs: dict[str, Callable[[], int]] = {
        "start": lambda: start(names, block=options.block),
        "stop": lambda: 0 * len(stop(names, block=options.block)),
        "restart": lambda: restart(names, block=options.block),
        "reload": lambda: reload(names),
        "reload-or-restart": lambda: reload_or_restart(names, block=options.block),
        "enable": lambda: toggle(verb, options),
        "disable": lambda: toggle(verb, options),
        "daemon-reload": lambda: 0 * sum(len(read_unit(path)) for path in own_files()),
        "reset-failed": lambda: 0,
        "status": lambda: status(names, options.lines),
        "is-active": lambda: query(
            options, 3, {"active"}, lambda name: properties(name)["ActiveState"]
        ),
        "is-enabled": lambda: query(
            options, 1, {"enabled", "static"}, lambda name: Unit.load(name).enabled
        ),
        "show": lambda: show(options),
        "boot": boot,
    }
    if program == "journalctl":
        return journal(options)
    if verb not in verbs:
        raise UnitError(f"Unknown command verb {verb}; there are {', '.join(verbs)}.")
    return verbs[verb]()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], Path(sys.argv[0]).name))
    except UnitError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.code)
