"""Which offer to take: the most training per dollar under hard caps. Pure; rents nothing.

An offer's price per unit of training is the cost of a stay (bid, storage, expected bandwidth,
set-up) over what it trains in the hours that set-up leaves. An offer that violates a cap is refused
with the cap, the value and the limit: "no offer" always says which cap to change, and by how much.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tune_app.cloud.market.gpu_speeds import Speed, speeds_of
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import HOURS_PER_MONTH, Offer, Quote
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.experience import Experience

NO_EXPERIENCE = Experience()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The offer to take, and why."""

    quote: Quote
    reason: str


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A cap that an offer violates."""

    cap: str
    said: str
    remedy: str
    distance: float
    """By how much, as a share of the limit; infinite if no other value would help."""


@dataclass(frozen=True, kw_only=True)
class NoOffer:
    """Why no offer was taken: how many each cap refused, and the one that came closest."""

    offers: int
    refused: Mapping[str, int]
    """By cap; an offer counts under each cap that it violates."""
    nearest: Offer | None
    misses: Sequence[Miss]
    """Of the nearest."""
    gpus: Sequence[str]
    market: str = "the market"
    """Its name."""

    @property
    def reason(self) -> str:
        """In one line, with the remedy."""
        if self.nearest is None:
            return (
                f"{self.market} has no interruptible offer of {', '.join(self.gpus)} now; "
                "add GPU models, or wait"
            )
        counts = ", ".join(f"{name} {count}" for name, count in self.refused.items())
        said = " and ".join(miss.said for miss in self.misses)
        remedies = " and ".join(miss.remedy for miss in self.misses)
        return (
            f"no offer of {self.offers} meets the caps ({counts}); nearest is offer "
            f"{self.nearest.id}, {self.nearest.gpu_name}: {said}; {remedies}, or wait"
        )


def search_and_choose(
    market: Market,
    rules: OfferRules,
    *,
    avoided: Mapping[int, str] | None = None,
    taken: Collection[int] = (),
    experience: Experience = NO_EXPERIENCE,
) -> Choice | NoOffer:
    """Asks the market, and chooses as `choose` does. Raises CloudError.

    Where nothing passes, it asks once more without the caps: the answer shows which cap to move.
    """
    found: Choice | NoOffer
    for caps in (True, False):
        offers = market.offers(rules, caps=caps)
        found = choose(offers, rules, avoided=avoided, taken=taken, experience=experience)
        if isinstance(found, Choice):
            return found
    assert isinstance(found, NoOffer)
    return replace(found, market=market.site.name)


def choose(
    offers: Iterable[Offer],
    rules: OfferRules,
    *,
    avoided: Mapping[int, str] | None = None,
    taken: Collection[int] = (),
    experience: Experience = NO_EXPERIENCE,
) -> Choice | NoOffer:
    """The offer with the lowest price per unit of training.

    Args:
        avoided: machines not to rent, with the reason.
        taken: offers that are being rented, or are gone.
        experience: what became of machines that were rented before.
    """
    passed: list[Quote] = []
    refused: list[tuple[Offer, list[Miss]]] = []
    offers = list(offers)
    speeds = speeds_of(offers, rules.speeds)
    for offer in offers:
        found = quote(offer, rules, speed=speeds.get(offer.id), experience=experience)
        misses = _misses(offer, found, rules, avoided or {}, taken)
        if misses:
            refused.append((offer, misses))
        else:
            passed.append(found)
    if passed:
        passed.sort(key=lambda item: (item.per_unit, item.offer.id))
        best = passed[0]
        return Choice(quote=best, reason=_why(best, passed, rules, experience))
    refused.sort(key=lambda item: (len(item[1]), sum(miss.distance for miss in item[1])))
    counts = Counter(miss.cap for _, misses in refused for miss in misses)
    nearest = refused[0] if refused else None
    return NoOffer(
        offers=len(refused),
        refused=dict(counts.most_common()),
        nearest=nearest[0] if nearest else None,
        misses=nearest[1] if nearest else (),
        gpus=rules.gpus,
    )


def quote(
    offer: Offer,
    rules: OfferRules,
    *,
    speed: Speed | None = None,
    experience: Experience = NO_EXPERIENCE,
) -> Quote:
    """What a stay costs at the bid that the rules give, at most the cap if the minimum allows.

    Args:
        speed: of the GPU; None for the one in the rules.
        experience: by which the stay is shorter, or the set-up longer.
    """
    storage = rules.disk_gb * offer.storage_per_gb_month / HOURS_PER_MONTH
    bid = max(offer.minimum_bid * rules.bid_factor, offer.minimum_bid + 0.001)
    if offer.minimum_bid <= rules.max_dollars_per_hour - storage:
        bid = min(bid, rules.max_dollars_per_hour - storage)
    # Down to a hundredth of a cent, but not below the bid that wins.
    bid = max(math.floor(bid * 10_000) / 10_000, offer.minimum_bid)
    bandwidth = (
        rules.download_gb_per_hour * offer.download_per_gb
        + rules.upload_gb_per_hour * offer.upload_per_gb
    )
    setup = rules.setup_gb * offer.download_per_gb
    download_hours = rules.setup_gb * 8_000 / max(offer.download_mbps, 1.0) / 3_600
    seen = (offer.gpu_name, offer.machine_id)
    stay = experience.stay_hours(*seen, wanted=rules.stay_hours)
    setup_hours = experience.setup_hours(*seen, expected=rules.setup_hours + download_hours)
    productive = max(stay - setup_hours, 1e-3)
    speed = speed or speeds_of([offer], rules.speeds).get(offer.id)
    dollars = stay * (bid + storage + bandwidth) + setup
    return Quote(
        offer=offer,
        bid=bid,
        storage_per_hour=storage,
        bandwidth_per_hour=bandwidth,
        setup=setup,
        per_unit=math.inf if speed is None else dollars / (productive * speed.tokens_per_second),
        speed="" if speed is None else speed.source,
    )


def _misses(
    offer: Offer,
    found: Quote,
    rules: OfferRules,
    avoided: Mapping[int, str],
    taken: Collection[int],
) -> list[Miss]:
    misses: list[Miss] = []
    if offer.gpu_name not in rules.gpus or offer.num_gpus != 1:
        misses.append(
            Miss(
                cap="gpus",
                said=f"it has {offer.num_gpus} × {offer.gpu_name}",
                remedy=f"add {offer.gpu_name!r} to gpus",
                distance=math.inf,
            )
        )
    if offer.machine_id in avoided:
        misses.append(
            Miss(
                cap="avoided",
                said=f"machine {offer.machine_id} is avoided: {avoided[offer.machine_id]}",
                remedy="add GPU models",
                distance=math.inf,
            )
        )
    if offer.id in taken:
        misses.append(
            Miss(cap="taken", said="it is taken", remedy="add GPU models", distance=math.inf)
        )
    price = offer.minimum_bid + found.storage_per_hour
    for cap, value, limit in (
        ("max_dollars_per_hour", price, rules.max_dollars_per_hour),
        ("max_dollars_per_gb", offer.download_per_gb, rules.max_dollars_per_gb),
        ("max_dollars_per_gb", offer.upload_per_gb, rules.max_dollars_per_gb),
    ):
        if value > limit:
            misses.append(_over(cap, value, limit))
    for cap, value, limit in (
        ("min_reliability", offer.reliability, rules.min_reliability),
        ("disk_gb", offer.disk_gb, rules.disk_gb),
        ("min_cuda", offer.cuda, rules.min_cuda),
        ("min_cpus", offer.cpus, rules.min_cpus),
        ("min_ram_gb", offer.ram_gb, rules.min_ram_gb),
        ("min_hours_left", offer.hours_left, rules.min_hours_left),
    ):
        if value < limit:
            misses.append(_under(cap, value, limit))
    return misses


def _over(cap: str, value: float, limit: float) -> Miss:
    rounded = math.ceil(value * 10_000) / 10_000
    return Miss(
        cap=cap,
        said=f"${rounded:.4g} is over {cap} {limit:g}",
        remedy=f"raise {cap} to {rounded:.4g}",
        distance=value / limit - 1 if limit > 0 else math.inf,
    )


def _under(cap: str, value: float, limit: float) -> Miss:
    return Miss(
        cap=cap,
        said=f"{value:.4g} is under {cap} {limit:g}",
        remedy=f"lower {cap} to {value:.4g}",
        distance=1 - value / limit,
    )


def _why(best: Quote, passed: Sequence[Quote], rules: OfferRules, experience: Experience) -> str:
    text = (
        f"offer {best.offer.id}, {best.offer.gpu_name}: ${best.per_hour:.3f}/h (bid "
        f"{best.bid:.4f}, storage {best.storage_per_hour:.4f}, bandwidth "
        f"{best.bandwidth_per_hour:.4f}) and ${best.setup:.2f} of set-up over "
        f"{rules.stay_hours:g} h; best of {len(passed)} that meet the caps"
    )
    if len(passed) > 1:
        following = passed[1]
        text += (
            f", {1 - best.per_unit / following.per_unit:.0%} cheaper per unit of training than "
            f"offer {following.offer.id}, {following.offer.gpu_name}"
        )
    # Last: figures above are measured or quoted.
    text += f"; by a speed that is {best.speed}"
    if seen := experience.said(best.offer.gpu_name, best.offer.machine_id):
        text += f"; {seen}"
    return text
