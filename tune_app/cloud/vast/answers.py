"""What the API of Vast.ai tells, checked and turned into the records of `market`.

Each reader raises OddAnswerError naming what is missing or of the wrong type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_app.cloud.errors import OddAnswerError
from tune_app.cloud.market.records import Charge, Instance, Offer


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
    )


def read_instance(values: Mapping[str, Any]) -> Instance:
    """Raises OddAnswerError naming what is missing or of the wrong type."""
    read = _Reader("instance", values)
    return Instance(
        id=read.whole("id"),
        machine_id=read.whole("machine_id"),
        label=read.optional_text("label"),
        status=read.optional_text("actual_status"),
        intended=read.optional_text("intended_status"),
        current=read.optional_text("cur_state"),
        next=read.optional_text("next_state"),
        message=read.optional_text("status_msg"),
        is_bid=read.flag("is_bid"),
        dollars_per_hour=read.number("dph_total"),
        gpu_name=read.optional_text("gpu_name"),
        cpus=read.number("cpu_cores_effective", 0.0),
        disk_gb=read.number("disk_space", 0.0),
        storage_per_gb_month=read.number("storage_cost", 0.0),
        public_address=read.optional_text("public_ipaddr").strip(),
        proxy_host=read.optional_text("ssh_host"),
        proxy_port=None if values.get("ssh_port") is None else read.whole("ssh_port"),
        ports=_ports(values.get("ports")),
    )


def identity(values: Mapping[str, Any]) -> tuple[int, str]:
    """Number and label of a listed instance. Raises OddAnswerError if it has no number."""
    read = _Reader("instance", values)
    return read.whole("id"), read.optional_text("label")


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

    def number(self, name: str, default: float | None = None) -> float:
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._odd(name, value, "a number")
        return float(value)

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._odd(name, value, "a text")
        return value

    def optional_text(self, name: str) -> str:
        return "" if self._values.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise self._odd(name, value, "true or false")
        return value

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
