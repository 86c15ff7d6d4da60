"""The settings of a cell and of the scheduler, as `--set help` shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tune_app.plan.settings import SettingsGroup


def settings_table(groups: Sequence[SettingsGroup], *, how: str) -> RenderableType:
    """Name, default, meaning and possible values of each setting.

    how: how a setting is given, shown below.
    """
    names = max(len(one.name) for group in groups for one in group.settings)
    defaults = max(len(one.default) for group in groups for one in group.settings)
    return Group(*_parts(groups, names=names, defaults=defaults), Text(), Text(how))


def _parts(
    groups: Sequence[SettingsGroup], *, names: int, defaults: int
) -> Iterator[RenderableType]:
    for number, group in enumerate(groups):
        if number:
            yield Text()
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=names, no_wrap=True)
        table.add_column(width=defaults, no_wrap=True)
        table.add_column()
        table.add_row(
            Text(group.title, "bold"), Text("default", "dim"), Text("meaning [values]", "dim")
        )
        for one in group.settings:
            meaning = Text.assemble(
                one.meaning, " " if one.meaning else "", (f"[{one.kind}]", "dim")
            )
            table.add_row(Text(one.name), Text(one.default), meaning)
        yield table
