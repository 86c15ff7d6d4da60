from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from model.field_types import require_types


@dataclass(frozen=True, kw_only=True)
class Settings:
    rank: int | None = None
    ranks: tuple[int, ...] = ()
    betas: tuple[float, float] = (0.9, 0.95)
    mixture: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = 0.5
    mode: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        require_types(self)


def test_optional_lists_and_mappings_are_taken_and_get_one_form() -> None:
    given = Settings(rank=8, ranks=[4, 8], betas=[0.9, 1], mixture={"a": 1}, ratio=1)  # type: ignore[arg-type]
    assert given == Settings(rank=8, ranks=(4, 8), betas=(0.9, 1.0), mixture={"a": 1.0}, ratio=1.0)
    assert type(given.mixture["a"]) is float
    assert type(given.ratio) is float
    assert Settings(ratio=None).ratio is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 1.5}, "rank is 1.5; it must be a whole number or none"),
        ({"rank": True}, "rank is True"),
        ({"ranks": 4}, "ranks is 4; it must be a list, each item a whole number"),
        ({"ranks": ["4"]}, r"ranks is \['4'\]"),
        ({"betas": [0.9]}, r"betas is \[0.9\]; it must be a list of 2: a number, a number"),
        ({"mixture": {"a": "much"}}, "mixture is .* a mapping of names, each value a number"),
        ({"mode": "maybe"}, "mode is 'maybe'; it must be one of on, off"),
    ],
)
def test_another_type_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)
