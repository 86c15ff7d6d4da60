"""What a result depends on besides its settings: the machine and the versions of all packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from typing import Any

import psutil

from model.training.hardware import environment, precision_on
from tune_app.devices import checked_device
from tune_app.sweep.source import source_version


def environment_record() -> dict[str, Any]:
    """This machine and its packages, as plain values."""
    device = checked_device("auto")
    return {
        "source": source_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "training": environment(
            device, precision=precision_on(device, "auto").name, compiled=False
        ),
        "packages": packages(),
    }


def packages() -> list[str]:
    """Every installed package, as `name==version`."""
    found = {
        (one.metadata["Name"] or "").lower(): one.version
        for one in distributions()
        if one.metadata["Name"]
    }
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _processor() -> str:
    """The name of the CPU; Linux has it in /proc/cpuinfo."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - no such path to join
            names = (line.partition(":")[2] for line in file if line.startswith("model name"))
            return next(names, "").strip() or platform.processor() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
