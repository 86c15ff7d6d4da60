"""For what belongs to the driver's process alone."""

from __future__ import annotations


class Unsaved:
    """Left out of the state that Tune writes for `Tuner.restore`, which no sweep uses.

    The journal is what a sweep continues from; a scheduler with an open database in it could not
    be pickled, and should not be.
    """

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return (type(None), ())
