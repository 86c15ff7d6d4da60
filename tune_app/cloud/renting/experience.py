"""How long a machine may be expected to stay, and to take before it works. Pure.

From what became of earlier ones: of the same machine, of others with its GPU. A machine that was
never rented counts as others with its GPU do, and a GPU that was never rented as the settings say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tune_app.cloud.ledger.stays import Stay

WEIGHT_HOURS = 6.0
"""So many hours of a machine count as much as all that is known of its GPU; and so many of a GPU as
the settings, which expect no interruption."""
WEIGHT_STAYS = 2.0
"""The same for the times of set-ups, in machines."""


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What became of the machines that were rented before."""

    stays: Sequence[Stay] = ()

    def interruptions_per_hour(self, gpu: str, machine: int) -> float:
        """Expected of a machine; 0 where nothing is known."""
        return self._rate(
            self._of_machine(machine), expected=self._rate(self._of_gpu(gpu), expected=0.0)
        )

    def stay_hours(self, gpu: str, machine: int, *, wanted: float) -> float:
        """How long a machine will stay on average, if it is wanted for so long."""
        rate = self.interruptions_per_hour(gpu, machine)
        return -math.expm1(-rate * wanted) / rate if rate > 0 else wanted

    def setup_hours(self, gpu: str, machine: int, *, expected: float) -> float:
        """Until a machine's first cell trains.

        expected: where nothing is known of it.
        """
        of_gpu = self._mean_setup(self._of_gpu(gpu), expected=expected)
        return self._mean_setup(self._of_machine(machine), expected=of_gpu)

    def said(self, gpu: str, machine: int) -> str:
        """What was seen of a machine and its GPU; empty if nothing was."""
        own, others = self._of_machine(machine), self._of_gpu(gpu)
        texts = [
            f"{name} was taken away {sum(one.taken_away for one in seen)} times in "
            f"{sum(one.hours for one in seen):.1f} h"
            for name, seen in (("this machine", own), (gpu, others))
            if seen
        ]
        return ", ".join(texts)

    def _of_gpu(self, gpu: str) -> list[Stay]:
        return [one for one in self.stays if one.gpu == gpu]

    def _of_machine(self, machine: int) -> list[Stay]:
        return [one for one in self.stays if one.machine == machine]

    @staticmethod
    def _rate(seen: Sequence[Stay], *, expected: float) -> float:
        hours = sum(one.hours for one in seen)
        lost = sum(one.taken_away for one in seen)
        return (lost + expected * WEIGHT_HOURS) / (hours + WEIGHT_HOURS)

    @staticmethod
    def _mean_setup(seen: Sequence[Stay], *, expected: float) -> float:
        known = [one.setup_hours for one in seen if one.setup_hours is not None]
        return (sum(known) + expected * WEIGHT_STAYS) / (len(known) + WEIGHT_STAYS)
