"""Every kind of phase by its name. A new one is a class and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from tune_app.study.phases.base import Phase
from tune_app.study.phases.baseline import BaselinePhase
from tune_app.study.phases.finalists import FinalistsPhase
from tune_app.study.phases.rank import RankPhase

KINDS: Mapping[str, type[Phase]] = {
    kind.KIND: kind for kind in (BaselinePhase, RankPhase, FinalistsPhase)
}
