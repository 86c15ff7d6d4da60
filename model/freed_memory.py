"""What glibc's malloc does with memory that was freed."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""M_TRIM_THRESHOLD and so on of <malloc.h>."""
_LARGE = 2**20
"""Bytes."""


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep freed memory for the rest of the process; elsewhere does nothing.

    Activations are freed and allocated again in every step. If their pages are returned to the
    system, each costs a page fault when it is touched again.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_MAX, 0)


def return_freed_memory() -> None:
    """Makes glibc's malloc return large tensors to the system once they are freed, for the rest of
    the process; elsewhere does nothing.

    By itself it raises the size from which it does so to 32 MiB, and what is freed below that is of
    no use to larger tensors, or to other processes.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_MMAP_MAX, 65_536)


def give_freed_memory_back() -> None:
    """Makes glibc's malloc return what was freed to the system, once; elsewhere does nothing."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
