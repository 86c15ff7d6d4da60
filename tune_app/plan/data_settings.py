"""Settings of mixed corpora and of a curriculum: as people write them, checked, and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from data.counts import counted
from data.curriculum import WantedStage, check_stages
from data.mixture import check_shares, in_shares
from data.sources.mixed import corpora_in, domain_labels

STAGE_FORM = "write TOKENS:LENGTH or TOKENS:LENGTH:BATCH for each, as in 10%:64,100k:128:32"
SHARES_FORM = "write a share for each corpus, as in 70/25/5"


class DataSettings(Protocol):
    """The settings that are checked here."""

    @property
    def corpus(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def mixture(self) -> tuple[float, ...] | None: ...
    @property
    def mixture_end(self) -> tuple[float, ...] | None: ...
    @property
    def mixture_anneal(self) -> float: ...
    @property
    def mixture_surprise(self) -> float: ...
    @property
    def stages(self) -> tuple[WantedStage, ...]: ...


def check_data(settings: DataSettings) -> None:
    """Raises ValueError for shares or stages that are impossible together."""
    corpora = corpora_in(settings.corpus)
    for name, shares in (("mixture", settings.mixture), ("mixture_end", settings.mixture_end)):
        if shares is not None:
            check_shares(name, shares, corpora=corpora)
    if not 0 < settings.mixture_anneal <= 1:
        raise ValueError(
            f"mixture_anneal is {settings.mixture_anneal:g}; it must be above 0 and at most 1, for "
            "example 0.2"
        )
    if not 0 <= settings.mixture_surprise < math.inf:
        raise ValueError(
            f"mixture_surprise is {settings.mixture_surprise:g}; it must be 0 or more, for "
            "example 1"
        )
    if settings.mixture is None and (settings.mixture_end or settings.mixture_surprise):
        name = "mixture_end" if settings.mixture_end else "mixture_surprise"
        raise ValueError(
            f"{name} is set, but mixture, the shares at the start, is not; set it too, as in "
            "mixture=50/50"
        )
    if settings.mixture_end and settings.mixture_surprise:
        raise ValueError(
            "mixture_end and mixture_surprise are both set, but only one of them can decide the "
            "shares; leave one out"
        )
    check_stages(settings.stages, tokens=settings.tokens)


def stages_of(curriculum: Sequence[tuple[float, int, int | None]]) -> tuple[WantedStage, ...]:
    """The stages in a cell's values. Raises ValueError for an impossible one."""
    return tuple(
        WantedStage(amount=amount, length=length, batch_size=batch_size)
        for amount, length, batch_size in curriculum
    )


def shares_as_meant(value: Any) -> Any:
    """70/25/5, or a list of shares or percentages, as shares; what is not understood as it is."""
    if isinstance(value, str):
        if value in ("none", "free", ""):
            return None
        texts = value.replace(",", "/").split("/")
        try:
            value = [float(text.strip().removesuffix("%")) for text in texts]
        except ValueError:
            raise ValueError(f"{value!r} are no shares; {SHARES_FORM}") from None
    if isinstance(value, (list, tuple)) and all(map(_is_number, value)):
        return in_shares(value)
    return value


def curriculum_as_meant(value: Any) -> Any:
    """10%:64,100k:128:32, or a list of stages, as a list of three numbers each."""
    if value is None or value in ("none", ""):
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        return value
    return tuple(_stage_as_meant(stage) for stage in value)


def _stage_as_meant(stage: Any) -> Any:
    parts = stage.split(":") if isinstance(stage, str) else stage
    if not isinstance(parts, (list, tuple)):
        return stage
    if not 2 <= len(parts) <= 3:
        raise ValueError(f"{stage!r} is not a stage of a curriculum; {STAGE_FORM}")
    try:
        amount, length, *rest = parts
        size = rest[0] if rest else None
        return _amount(amount), _whole(length), None if size is None else _whole(size)
    except ValueError as error:
        raise ValueError(f"{stage!r} is not a stage of a curriculum ({error}); {STAGE_FORM}") from (
            None
        )


def _amount(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.endswith("%"):
        return float(text.removesuffix("%")) / 100
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    return float(counted(text))


def _whole(value: Any) -> Any:
    return counted(value) if isinstance(value, str) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


DATA_AS_MEANT: Mapping[str, Callable[[Any], Any]] = {
    "mixture": shares_as_meant,
    "mixture_end": shares_as_meant,
    "curriculum": curriculum_as_meant,
}
"""How the values of these settings are read."""


def describe_shares(shares: Sequence[float] | None) -> str:
    """Shares in words: 70/25/5, or by size."""
    if shares is None:
        return "by size"
    return "/".join(f"{100 * share:.4g}" for share in shares)


def describe_curriculum(stages: Sequence[Sequence[Any]]) -> str:
    """A curriculum in words: 10%:64 100k:128:32, or none."""
    if not stages:
        return "none"
    return " ".join(
        f"{amount:,.0f}:{length}" + ("" if size is None else f":{size}")
        if amount > 1
        else f"{100 * amount:.4g}%:{length}" + ("" if size is None else f":{size}")
        for amount, length, size in stages
    )


DESCRIBED: Mapping[str, Callable[[Any], str]] = {
    "mixture": describe_shares,
    "mixture_end": lambda shares: "none" if shares is None else describe_shares(shares),
    "curriculum": describe_curriculum,
}
"""These settings' values as people read them."""


def data_notes(values: Mapping[str, Any], *, axes: Collection[str]) -> Iterator[str]:
    """What a plan says of the settings that all its cells share.

    values: of the baseline.
    axes: settings that differ between cells.
    """
    shares, end = values["mixture"], values["mixture_end"]
    if shares and not {"mixture", "mixture_end", "mixture_anneal"} & {*axes}:
        changes = f" to {describe_shares(end)} over the last {values['mixture_anneal']:.0%}"
        named = " + ".join(domain_labels(values["corpus"]))
        yield f"training draws {describe_shares(shares)}{changes if end else ''} of {named}"
    if values["curriculum"] and "curriculum" not in axes:
        stages = describe_curriculum(values["curriculum"])
        yield f"training begins with shorter sequences (tokens:length): {stages}"
