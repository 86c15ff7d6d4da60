"""Fixtures that several packages' tests use."""

from __future__ import annotations

import gc
import json
import os
import sysconfig
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    """For cores that others use, too."""
    # One thread a process: OpenMP's threads of two processes that wait for each other on two cores
    # made tests of a third of a second take over a minute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # How long an example takes on a busy machine says nothing about the code.
    settings.register_profile(
        "shared cores", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("shared cores")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay until the end: looking through them for garbage took a third of the
    time of collecting, and most of each full collection while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes do not name a test: packed ones hold the time of their packing, and processes that
    collect different names run no test at all."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: files are what processes take from the queue, and a long one begun last
    would keep one process busy while the others are done."""
    items.sort(key=_turn)


LONGEST = (
    "tests/tune_app/sweep/test_sweep.py",
    "tests/tune_app/trial/test_trial.py",
    "tests/gpu/test_traced_steps.py",
    "tests/model/training/shards/test_sharded.py",
)
"""Files of half a minute and more."""


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("chaos"):
        return 0
    sweeps = "sweeps" in getattr(item, "fixturenames", ())
    return 1 if sweeps or item.location[0] in LONGEST else 2


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text for tests; a test that asks for it is skipped where it is missing."""
    repository = Path(__file__).parent.parent
    folder = Path(os.environ.get("STELLUX_SHARED_DATA", repository / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real text at {folder}; STELLUX_SHARED_DATA may name another folder")
    return folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real text, small enough for a tokenizer in a second: a few standard modules."""
    folder = tmp_path_factory.mktemp("corpus")
    library = Path(sysconfig.get_path("stdlib"))
    names = {
        "train": ("argparse", "ast", "calendar", "datetime", "doctest", "inspect", "tarfile"),
        "valid": ("csv", "textwrap", "heapq"),
        "test": ("bisect", "queue"),
    }
    for split, modules in names.items():
        texts = [(library / f"{name}.py").read_text("utf-8") for name in modules]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of prepared corpora that the tests share and nobody else sees."""
    return tmp_path_factory.mktemp("cache")
