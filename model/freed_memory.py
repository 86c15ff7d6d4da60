"""What glibc's malloc does with memory that was freed."""

from __future__ import annotations

import ctypes
import platform

_LARGE = 2**20
"""Bytes."""


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep freed memory for the rest of the process; elsewhere does nothing.

    Activations are freed and allocated again in every step. If their pages are returned to the
    system, each costs a page fault when it is touched again.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_max, 0)


def return_freed_memory() -> None:
    """Makes glibc's malloc return large tensors to the system once they are freed, for the rest of
    the process; elsewhere does nothing.

    By itself it raises the size from which it does so to 32 MiB, and what is freed below that is of
    no use to larger tensors, or to other processes.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    mmap_threshold, mmap_max = -3, -4  # M_MMAP_THRESHOLD and M_MMAP_MAX of <malloc.h>
    libc.mallopt(mmap_threshold, _LARGE)
    libc.mallopt(mmap_max, 65_536)


def give_freed_memory_back() -> None:
    """Makes glibc's malloc return what was freed to the system, once; elsewhere does nothing."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
