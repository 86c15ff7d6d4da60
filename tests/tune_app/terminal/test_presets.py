from __future__ import annotations

import pytest

from tune_app.command_line import run_command
from tune_app.presets import MODULE, app


def shown(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(app, MODULE, arguments)
    assert ended.value.code == 0


def test_presets_are_listed_and_scaled(capsys: pytest.CaptureFixture[str]) -> None:
    shown()
    assert "597,153,888" in capsys.readouterr().out
    shown("polychromatic-600m")
    assert "1,380,960" in capsys.readouterr().out
    shown("polychromatic-600m", "--target-parameters", "10M", "--vocab-size", "8k")
    told = capsys.readouterr().out
    assert "layers per 64 of width" in told
    assert '"feed_forward": "polyglu"' in told and '"n_kv_heads": ' in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yxanull"], "did you mean yxanul?"),
        (["--target-parameters", "10M"], "name the preset to scale"),
        (["yxanul", "--vocab-size", "8k"], "a vocabulary needs a budget beside it"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, MODULE, arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
