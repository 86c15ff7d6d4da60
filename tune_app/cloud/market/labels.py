"""Labels of instances: the only link between a rented machine and the request for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tune_app.cloud.market.instance_request import MAXIMUM_LABEL

_FIRST = "stellux"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def checked_name(what: str, text: str) -> str:
    """The text. Raises ValueError if it cannot be part of a label."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(
            f"the {what} is {str(text)[:80]!r}; use 1 to 60 letters, digits, dots, dashes and "
            "underscores, the first a letter or a digit"
        )
    return text


def prefix(cluster: str) -> str:
    """The prefix of the labels of a cluster's instances."""
    return f"{_FIRST}/{cluster}/"


@dataclass(frozen=True, kw_only=True)
class Label:
    """`stellux/CLUSTER/TYPE/K/ATTEMPT/HEAD`, at most 256 characters; earlier ones lack the head."""

    cluster: str
    node_type: str
    k: int
    """The node's number in the overlay: its address is 127.77.0.k."""
    attempt: str
    """The request's id and which attempt at it this is, `REQUEST.N`."""
    head: str = ""
    """Of the head that asked for it; empty in labels of earlier versions. Two heads of one
    cluster's name leave each other's workers alone by it."""

    @property
    def text(self) -> str:
        text = f"{prefix(self.cluster)}{self.node_type}/{self.k}/{self.attempt}"
        text += f"/{self.head}" if self.head else ""
        assert len(text) <= MAXIMUM_LABEL, text
        return text

    @classmethod
    def parse(cls, text: str) -> Label | None:
        """None for a label that this program did not write."""
        parts = text.split("/")
        if len(parts) not in (5, 6) or parts[0] != _FIRST or not parts[3].isdecimal():
            return None
        return cls(
            cluster=parts[1],
            node_type=parts[2],
            k=int(parts[3]),
            attempt=parts[4],
            head=parts[5] if len(parts) == 6 else "",
        )

    def may_be_of(self, cluster: str, head: str) -> bool:
        """Whether this head of this cluster may have asked for it."""
        return self.cluster == cluster and self.head in ("", head)
