"""What the API of Vast.ai tells, checked and turned into the records of `market`.

An offer or a charge with a missing or wrong value raises OddAnswerError naming it. An instance is
read as far as it is told: it exists and costs money, whatever else is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from tune_app.cloud.errors import OddAnswerError
from tune_app.cloud.market.records import Charge, Instance, Offer

_Default = TypeVar("_Default", float, None)


def read_offer(values: Mapping[str, Any]) -> Offer:
    """Raises OddAnswerError naming what is missing or of the wrong type."""
    read = _Reader("offer", values)
    return Offer(
        id=read.whole("id"),
        machine_id=read.whole("machine_id"),
        gpu_name=read.text("gpu_name"),
        num_gpus=read.whole("num_gpus"),
        gpu_ram_gb=read.number("gpu_ram") / 1024,
        cpus=read.number("cpu_cores_effective"),
        ram_gb=read.number("cpu_ram") / 1024,
        disk_gb=read.number("disk_space"),
        minimum_bid=read.number("min_bid"),
        storage_per_gb_month=read.number("storage_cost"),
        upload_per_gb=read.number("inet_up_cost"),
        download_per_gb=read.number("inet_down_cost"),
        download_mbps=read.number("inet_down"),
        reliability=read.number("reliability2" if "reliability2" in values else "reliability"),
        cuda=read.number("cuda_max_good"),
        hours_left=read.number("duration") / 3600,
        benchmark=max(0.0, read.number_or("dlperf", 0.0)),
    )


def read_instance(values: Mapping[str, Any]) -> Instance:
    """An instance, as far as it is told: null fields are usual while it is created.

    Raises OddAnswerError only if it has no number.
    """
    read = _Reader("instance", values)
    return Instance(
        id=read.whole("id"),
        machine_id=int(read.number_or("machine_id", 0)),
        label=read.text_or_nothing("label"),
        status=read.text_or_nothing("actual_status"),
        intended=read.text_or_nothing("intended_status"),
        current=read.text_or_nothing("cur_state"),
        next=read.text_or_nothing("next_state"),
        message=read.text_or_nothing("status_msg"),
        is_bid=read.flag_or_none("is_bid"),
        dollars_per_hour=read.number_or("dph_total", None),
        gpu_name=read.text_or_nothing("gpu_name"),
        cpus=read.number_or("cpu_cores_effective", 0.0),
        disk_gb=read.number_or("disk_space", 0.0),
        storage_per_gb_month=read.number_or("storage_cost", 0.0),
        public_address=read.text_or_nothing("public_ipaddr").strip(),
        proxy_host=read.text_or_nothing("ssh_host"),
        proxy_port=int(read.number_or("ssh_port", 0)) or None,
        ports=_ports(values.get("ports")),
        gpu_dollars_per_hour=read.number_or("dph_base", None),
        fee_per_hour=read.number_or("platform_fee", 0.0),
        started=read.number_or("start_date", None),
    )


def identity(values: Mapping[str, Any]) -> tuple[int, str]:
    """Number and label of a listed instance. Raises OddAnswerError if it has no number."""
    read = _Reader("instance", values)
    return read.whole("id"), read.text_or_nothing("label")


def shown_instance(values: object, contract: int) -> Instance | None:
    """The instance in an answer about one; None for null, [] or {}: it does not exist.

    Raises OddAnswerError for anything else that is not this instance.
    """
    if isinstance(values, list) and len(values) == 1:
        values = values[0]
    if values is None or values in ([], {}):
        return None
    if not isinstance(values, dict):
        raise OddAnswerError(f"the answer on instance {contract} is not an object")
    shown = read_instance(values)
    if shown.id != contract:
        raise OddAnswerError(f"the answer on instance {contract} is about {shown.id}")
    return shown


def read_charge(values: Mapping[str, Any]) -> Charge:
    """Raises OddAnswerError naming what is missing or of the wrong type."""
    read = _Reader("charge", values)
    source = read.text("source")
    number = source.rpartition("-")[2]
    if not number.isdigit():
        raise OddAnswerError(f"a charge names {source!r} as its source, not a contract")
    items = values.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise OddAnswerError("a charge has no list of items")
    parts: dict[str, float] = {}
    for item in items:
        inner = _Reader("item of a charge", item)
        kind = inner.text("type")
        parts[kind] = parts.get(kind, 0.0) + inner.number("amount")
    told = values.get("metadata")
    label = told.get("label") if isinstance(told, dict) else None
    return Charge(
        contract=int(number),
        dollars=read.number("amount"),
        parts=parts,
        label=label if isinstance(label, str) else "",
    )


class _Reader:
    """Reads values of a JSON object; a missing value or a wrong type is an OddAnswerError."""

    def __init__(self, what: str, values: Mapping[str, Any]) -> None:
        self._what = what
        self._values = values

    def whole(self, name: str) -> int:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._odd(name, value, "a whole number")
        return value

    def number(self, name: str) -> float:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._odd(name, value, "a number")
        return float(value)

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._odd(name, value, "a text")
        return value

    def number_or(self, name: str, default: _Default) -> float | _Default:
        """The default for a missing value, and for one that is not a number."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return default
        return float(value) if math.isfinite(value) else default

    def text_or_nothing(self, name: str) -> str:
        """Nothing for a missing value, and for one that is not a text."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def flag_or_none(self, name: str) -> bool | None:
        """None for a missing value, and for one that is neither true nor false."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else None

    def _odd(self, name: str, value: object, wanted: str) -> OddAnswerError:
        return OddAnswerError(
            f"the API's {self._what} {self._values.get('id', '')} has {name} = "
            f"{str(value)[:80]!r} where {wanted} is expected"
        )


def _ports(values: object) -> dict[str, int]:
    """Docker's form, {"22/tcp": [{"HostIp": …, "HostPort": "30022"}]}, as inner → outer."""
    if not isinstance(values, dict):
        return {}
    ports: dict[str, int] = {}
    for inner, outer in values.items():
        if isinstance(outer, list) and outer and isinstance(outer[0], dict):
            text = str(outer[0].get("HostPort", ""))
            if text.isdigit():
                ports[inner] = int(text)
    return ports
