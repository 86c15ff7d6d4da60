"""The page of a study over HTTP, made anew from its journals when one of them has changed."""

from __future__ import annotations

from pathlib import Path

from tune_app.dashboards.live_report import LivePage
from tune_app.dashboards.shown import phases_in
from tune_app.journal.file import is_being_written
from tune_app.study.definition import kept_study
from tune_app.study.forecast import kept_forecast
from tune_app.study.report import report_page
from tune_app.study.run import read_study
from tune_app.sweep.folder import JOURNAL


class StudyPage(LivePage):
    """The page, kept until a journal changes."""

    def _journals(self) -> list[Path]:
        return [phase / JOURNAL for phase in phases_in(self._folder)]

    def _make(self) -> str:
        study = kept_study(self._folder)
        found = read_study(study, self._folder)
        running = any(is_being_written(journal) for journal in self._journals())
        return report_page(
            study, found, kept_forecast(self._folder), refresh=self.REFRESH if running else None
        )
