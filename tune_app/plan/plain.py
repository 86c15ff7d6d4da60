"""Plain Python values from what people write in search spaces: NumPy's numbers, arrays, paths.

The values of cells are hashed and written as JSON, so they must be plain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The value with plain numbers, lists and strings; what is not known is left as it is.

    Arrays, series and tensors become lists. A NumPy float32 becomes the shortest decimal that it
    stands for: 0.001, not 0.0010000000474974513.
    """
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _from_array(value) if hasattr(value, "tolist") else value


def _from_array(value: Any) -> Any:
    """The content of an array, a series or a tensor, or one number of it."""
    if getattr(value, "ndim", 1) > 0:
        return [plain(item) for item in value]
    number = value.tolist()
    if isinstance(number, float) and type(value).__module__ == "numpy":
        return float(str(value))
    return number
