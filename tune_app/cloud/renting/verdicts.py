"""What to do with a listed instance, and with launches that fail. Pure, with reasons."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tune_app.cloud.ledger.endings import Ending, EndKind
from tune_app.cloud.ledger.states import NOT_YET, Known, RequestState, is_silent
from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.records import Instance
from tune_app.cloud.renting.settings import Patience

MACHINES_TO_BLAME_THE_HEAD = 2
FEE_MOST = 0.25
"""The share of the agreed price that a fee of the market's may add."""


class Action(enum.Enum):
    KEEP = "keep"
    ADOPT = "adopt"
    DESTROY = "destroy"
    IGNORE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do with an instance, and why."""

    action: Action
    reason: str
    by: EndKind = EndKind.RETURNED
    """What ends one that is to be destroyed."""
    avoid_machine: bool = False
    """Whether the machine is at fault and is avoided for a while."""
    outbid: bool = False
    """Somebody bids more there, or stopped it: the machine is left alone for a shorter while."""
    never_linked: bool = False
    """It ran, but its link never opened: if that is true of others too, the head is at fault."""

    @property
    def ending(self) -> Ending:
        """Of one that is to be destroyed."""
        return Ending(kind=self.by, reason=self.reason)


def judge(
    instance: Instance,
    known: Known | None,
    *,
    cluster: str,
    now: float,
    patience: Patience,
    price_tolerance: float,
    head: str = "",
) -> Verdict:
    """Adopt, keep, destroy, or leave alone because it is not this cluster's.

    Args:
        instance: as the API lists it.
        known: the attempt that rented it, or that its label names; None if the ledger has none.
            By its number it stays this cluster's, whatever its label was changed to.
        cluster: no other cluster's instances are ever touched.
        now: seconds since 1970.
        price_tolerance: the share by which the price may exceed the agreed one.
        head: this head's id; another head of the same cluster's name may live.
    """
    label = Label.parse(instance.label)
    relabelled = known is not None and known.contract == instance.id
    if not relabelled and (label is None or not label.may_be_of(cluster, head)):
        return Verdict(action=Action.IGNORE, reason="not of this cluster, or of its other head")
    if known is None:
        return _destroy("no owner: the ledger does not know its request")
    ownerless = _without_owner(instance, known)
    if ownerless is not None:
        return ownerless
    if known.answer_pending:
        return Verdict(action=Action.KEEP, reason="its request waits for the answer")
    return (
        _not_as_agreed(instance, known, price_tolerance, now, patience)
        or _lost(instance, known, now, patience)
        or (
            Verdict(action=Action.ADOPT, reason="its request had no answer")
            if known.state.in_flight
            else Verdict(action=Action.KEEP, reason=instance.status or "starting")
        )
    )


def _without_owner(instance: Instance, known: Known) -> Verdict | None:
    if known.doomed:
        return _destroy(known.doomed)
    if known.state.in_flight:
        return None
    if known.state is not RequestState.RENTED:
        return _destroy(f"no owner: its request has {known.state.value}")
    if known.contract != instance.id:
        return _destroy(f"no owner: its request rented instance {known.contract}")
    return None


def _not_as_agreed(
    instance: Instance, known: Known, tolerance: float, now: float, patience: Patience
) -> Verdict | None:
    if instance.is_bid is False:
        return _destroy("rented on demand instead of at the bid", avoid_machine=True)
    gpu = instance.gpu_name.replace("_", " ")
    if gpu and known.gpu and gpu != known.gpu.replace("_", " "):
        return _destroy(
            f"has a {gpu} instead of the {known.gpu} that was offered", avoid_machine=True
        )
    price = instance.dollars_per_hour
    if price is None or instance.is_bid is None:
        # Usual while it is created; for longer, nobody knows what it costs.
        if now - known.since >= patience.loading:
            unknown = "price" if price is None else "kind of rental"
            return _destroy(f"its {unknown} is not told after {now - known.since:.0f} s")
        return None
    agreed = known.bid + known.storage_per_hour
    if _own_price(instance, price, known, tolerance) > agreed * (1 + tolerance):
        return _destroy(
            f"costs ${price:.4f}/h; the agreed price is ${agreed:.4f}/h", avoid_machine=True
        )
    return None


def _own_price(instance: Instance, price: float, known: Known, tolerance: float) -> float:
    """The machine's own price, without a fee of the market's on top.

    A fee that is not listed by itself shows where the GPU alone costs what was bid.
    """
    own = price - instance.fee_per_hour
    gpu = instance.gpu_dollars_per_hour
    agreed = known.bid + known.storage_per_hour
    if gpu is not None and gpu <= known.bid * (1 + tolerance) and own <= agreed * (1 + FEE_MOST):
        return min(own, gpu + known.storage_per_hour)
    return own


def _lost(instance: Instance, known: Known, now: float, patience: Patience) -> Verdict | None:
    if instance.is_stopped:
        return _taken_away("stopped: outbid, or by hand; its storage bills", outbid=True)
    if instance.status == "exited":
        return _taken_away("its container has ended", avoid_machine=True)
    if is_silent(instance.status) and known.silent_since is not None and known.link_up is not True:
        silent = now - known.silent_since
        if silent >= patience.lost:
            return _taken_away(
                f"{instance.status} for {silent:.0f} s, and its link is not open",
                avoid_machine=True,
            )
    loading = instance.status in NOT_YET and known.link_up is not True
    if loading and now - known.since >= patience.loading:
        return _destroy(
            f"{instance.status or 'not started'} after {now - known.since:.0f} s: "
            f"{instance.message[:120] or 'the host says nothing'}",
            avoid_machine=True,
        )
    # A container may run although its link does not open: then it is not a worker yet.
    if known.unlinked_since is not None and now - known.unlinked_since >= patience.loading:
        return Verdict(
            action=Action.DESTROY,
            reason=f"{instance.status}, but its link is not open for "
            f"{now - known.unlinked_since:.0f} s",
            by=EndKind.TAKEN_AWAY if known.linked else EndKind.RETURNED,
            avoid_machine=True,
            never_linked=not known.linked,
        )
    return None


def _destroy(reason: str, *, avoid_machine: bool = False) -> Verdict:
    return Verdict(action=Action.DESTROY, reason=reason, avoid_machine=avoid_machine)


def _taken_away(reason: str, *, avoid_machine: bool = False, outbid: bool = False) -> Verdict:
    return Verdict(
        action=Action.DESTROY,
        reason=reason,
        by=EndKind.TAKEN_AWAY,
        avoid_machine=avoid_machine,
        outbid=outbid,
    )


def head_to_blame(machines: int) -> str:
    """Why the head is at fault when links on so many machines never opened; empty if it is not."""
    if machines < MACHINES_TO_BLAME_THE_HEAD:
        return ""
    return (
        f"the links of workers on {machines} machines in a row never opened: allow TCP connections "
        "to the head's overlay port in the firewall of the head's provider"
    )


def launch_allowed_at(failures: int, last: float, patience: Patience) -> float:
    """When the next launch may start after `failures` in a row, the last one at `last`."""
    if failures < 1:
        return last
    return last + min(patience.backoff * 2.0 ** min(failures - 1, 30), patience.backoff_most)
