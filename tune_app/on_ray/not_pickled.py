"""A base for objects that must stay in the driver's process."""

from __future__ import annotations


class Unsaved:
    """Pickles as None, so Tune can write its state for `Tuner.restore`, which no sweep uses.

    A sweep continues from its journal. A scheduler holds an open database, which cannot be pickled.
    """

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return (type(None), ())
