"""Every kind of phase by its name. A new one is a class and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from tune_app.study.phases.ablate import AblatePhase
from tune_app.study.phases.audit import AuditPhase
from tune_app.study.phases.base import Phase
from tune_app.study.phases.baseline import BaselinePhase
from tune_app.study.phases.combine import CombinePhase
from tune_app.study.phases.control import ControlPhase
from tune_app.study.phases.finalists import FinalistsPhase
from tune_app.study.phases.race import RacePhase
from tune_app.study.phases.rank import RankPhase
from tune_app.study.phases.rates import RatesPhase

KINDS: Mapping[str, type[Phase]] = {
    kind.KIND: kind
    for kind in (
        BaselinePhase,
        RankPhase,
        CombinePhase,
        AblatePhase,
        FinalistsPhase,
        RacePhase,
        RatesPhase,
        AuditPhase,
        ControlPhase,
    )
}
