"""What a study is: one small file, read into these values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_app.evaluation.suite_names import LANGUAGE, THROUGHPUT
from tune_app.plan.plan import NAME
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Phase

METRICS = ("bits_per_byte", "perplexity")


@dataclass(frozen=True, kw_only=True)
class Study(Frame):
    """A study before it runs. Raises ValueError for one that cannot be run."""

    name: str
    """Of its folder."""
    phases: tuple[Phase, ...]
    budget: int | None = None
    """Baseline tokens that all phases together may train on; None for no limit."""
    metric: str = METRICS[0]
    """What designs are ranked by."""
    evaluate: tuple[str, ...] = (LANGUAGE, THROUGHPUT)
    """Suites that a cell of each finalist is evaluated on; empty for none."""
    evaluation_data: Path | None = None
    """Folder of the published data for them."""
    source: str = ""
    """The file it was read from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"the study's name is {self.name!r}; it names a folder, so use letters, digits, "
                "'.', '_' and '-', and start with a letter or a digit"
            )
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget is {self.budget}; it must be at least 1 token")
        if not self.phases:
            raise ValueError(
                "the study has no phases; add at least one [[phase]] with a kind, such as "
                'kind = "baseline"'
            )
        names = [phase.name for phase in self.phases]
        for name in names:
            if not NAME.fullmatch(name):
                raise ValueError(f"a phase is named {name!r}; it names a folder")
            if names.count(name) > 1:
                raise ValueError(f"two phases are named {name!r}; give one of them another name")
        refuse_shares(self)
        refuse_raw_perplexity(self)
        for at, phase in enumerate(self.phases):
            phase.check(self, self.phases[:at])

    def seeds_of(self, phase: Phase) -> tuple[int, ...]:
        """The seeds of a phase: from 0, or behind those of all phases before it and of all that
        are not fresh."""
        if not phase.FRESH:
            return tuple(range(phase.seeds))
        first = max((one.seeds for one in self.phases if not one.FRESH), default=0)
        before = self.phases[: self.phases.index(phase)]
        first += sum(one.seeds for one in before if one.FRESH)
        return tuple(range(first, first + phase.seeds))

    def allowance(self, phase: Phase) -> int | None:
        """Baseline tokens that a phase may train on; None for no limit of its own."""
        if self.budget is None:
            return None
        if phase.share is not None:
            return round(phase.share * self.budget)
        shared = sum(one.share or 0.0 for one in self.phases)
        return round((1 - shared) * self.budget)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The names that vary anywhere in it, with all their values."""
        found: dict[str, list[Any]] = {}
        for phase in self.phases:
            for key, values in phase.all_axes(self).items():
                names = key if isinstance(key, tuple) else (key,)
                for at, name in enumerate(names):
                    column = [row[at] if isinstance(key, tuple) else row for row in values]
                    found.setdefault(name, []).extend(column)
        return found


def refuse_shares(study: Study) -> None:
    """Raises ValueError for shares of a budget that there is not, or of more than all of it."""
    shares = [phase.share for phase in study.phases if phase.share is not None]
    if shares and study.budget is None:
        raise ValueError("a phase has a share of the budget, but the study names no budget")
    if sum(shares) > 1 + 1e-9:
        raise ValueError(
            f"the phases' shares of the budget add up to {sum(shares):g}; they must leave at most 1"
        )


def refuse_raw_perplexity(study: Study) -> None:
    """Raises ValueError if designs of different tokenizers would be ranked by perplexity."""
    if study.metric not in METRICS:
        raise ValueError(f"metric is {study.metric!r}; it must be {' or '.join(METRICS)}")
    differing = [
        name
        for name in ("vocab_size", "tokenizer", "tokenizer_options")
        if len({str(value) for value in study.settings.get(name, ())}) > 1
    ]
    if study.metric == "perplexity" and differing:
        raise ValueError(
            f"the study varies {' and '.join(differing)}, and perplexities per token of different "
            'tokenizers cannot be compared; rank by metric = "bits_per_byte", the default, which '
            "can, and is shown as the baseline's perplexity too"
        )
