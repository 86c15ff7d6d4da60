"""Every setting is shown with its default, its values and its meaning."""

from __future__ import annotations

import io

from rich.console import Console

from tune_app.plan.settings import Setting, cell_settings
from tune_app.terminal.settings import settings_table


def by_name() -> dict[str, Setting]:
    return {one.name: one for group in cell_settings() for one in group.settings}


def test_every_setting_has_a_default_values_and_a_meaning() -> None:
    for one in by_name().values():
        assert one.default and one.kind and one.meaning, one


def test_values_are_written_as_on_the_command_line() -> None:
    settings = by_name()
    assert settings["compile"].kind == "auto, on or off"
    assert settings["d_model"].default == "free"
    assert settings["d_model"].kind == "a whole number or free"
    assert settings["deterministic"].default == "true"
    assert settings["betas"].default == "[0.9, 0.95]"
    assert "geglu" in settings["feed_forward"].kind


def test_names_stay_whole_on_a_narrow_screen() -> None:
    screen = io.StringIO()
    table = settings_table(cell_settings(), how="with --set")
    Console(file=screen, width=80).print(table)
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in by_name())
