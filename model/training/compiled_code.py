"""What torch.compile made, as bytes that spare another process like this one the compiling.

These bytes are code: whoever installs them runs what their author wanted. Whether they may be
trusted is decided by whoever keeps them (`tune_app.trial.shipped_code`); here nothing is checked
but that they are whole and of the right form.

They are a zip file of torch's own artifacts (`torch.compiler.save_cache_artifacts`: graphs, and on
a GPU the kernels of Triton) and of the libraries that Inductor's C++ became, which are not among
them: on a CPU the C++ compiler takes most of the time.
"""

from __future__ import annotations

import io
import os
import platform
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

MOST_BYTES = 1 << 28
"""Of all files together, unpacked: more than a hundred times what a 10M model has."""

_ARTIFACTS = "artifacts"
_LIBRARY = re.compile(r"[0-9a-z]{2}/[0-9a-z]{20,80}(\.main)?\.so")
"""Where Inductor keeps a library, below its folder: nothing leads out of it."""

Platform = dict[str, str | int]


def platform_of(device: str) -> Platform:
    """What compiled code depends on besides the model: it is not used where any of this differs.

    Inductor compiles C++ for exactly this processor (-march=native), against this C library.
    """
    capabilities = torch.cpu.get_capabilities()
    found: Platform = {
        "torch": str(torch.__version__),
        "build": str(torch.version.git_version),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "processor": " ".join(f"{name}={capabilities[name]}" for name in sorted(capabilities)),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "compiler": os.environ.get("CXX", ""),
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        found["cuda"] = str(torch.version.cuda)
    return found


@contextmanager
def recorded() -> Iterator[Callable[[], bytes | None]]:
    """What is compiled within the block; the function that it gives packs that, None if nothing.

    Inductor's record of loaded libraries is emptied first, so that it names those of the block.
    """
    # Imported here: they take a second, which a run without torch.compile should not pay.
    from torch._inductor.utils import clear_caches  # noqa: PLC0415
    from torch.compiler._cache import CacheArtifactManager  # noqa: PLC0415

    clear_caches()
    with CacheArtifactManager.with_fresh_cache():
        yield _packed


def _packed() -> bytes | None:
    saved = torch.compiler.save_cache_artifacts()
    if saved is None:
        return None
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(_ARTIFACTS, saved[0])
        for path in _libraries():
            file.write(path, path.relative_to(_folder()).as_posix())
    return packed.getvalue()


def install(packed: bytes) -> None:
    """Puts what `recorded` packed where torch.compile looks before it compiles.

    What is there already is left as it is. Raises ValueError or zipfile.BadZipFile if the bytes are
    not whole, and OSError if they cannot be written.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        members = file.infolist()
        if (size := sum(member.file_size for member in members)) > MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes; at most {MOST_BYTES:,} are taken")
        names = [member.filename for member in members]
        if strange := [n for n in names if n != _ARTIFACTS and not _LIBRARY.fullmatch(n)]:
            raise ValueError(f"it has the unknown part {strange[0]!r}")
        if _ARTIFACTS not in names:
            raise ValueError("it has no artifacts")
        # All is read, and so compared with its checksum, before anything is written.
        contents = {name: file.read(name) for name in names}
    artifacts = contents.pop(_ARTIFACTS)
    for name, content in contents.items():
        _put(_folder() / name, content)
    if torch.compiler.load_cache_artifacts(artifacts) is None:
        raise ValueError("torch does not read its artifacts")


def _put(path: Path, content: bytes) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.chmod(0o755)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _folder() -> Path:
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # noqa: PLC0415

    return Path(cache_dir())


def _libraries() -> list[Path]:
    """Those that this process has loaded since `recorded` began, and the few that tell Inductor
    which instructions the processor has."""
    from torch._inductor import codecache  # noqa: PLC0415

    kinds: tuple[Any, ...] = (codecache.CppCodeCache, codecache.CppPythonBindingsCodeCache)
    folder = _folder()
    kernels = {folder / key[1:3] / f"{key}.main.so" for kind in kinds for key in kind.cache}
    tests = {path for path in folder.glob("??/*.so") if not path.name.endswith(".main.so")}
    return sorted(path for path in kernels | tests if path.is_file())
