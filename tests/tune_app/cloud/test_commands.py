"""The command line of a cluster takes a sweep's options as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.cloud.commands import app


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (
            "--cluster c.yaml embedding_glu --corpus x --seeds 0",
            "embedding_glu --corpus x --seeds 0",
        ),
        (
            "embedding_glu --cluster=c.yaml --corpus=x --show-ray",
            "embedding_glu --corpus=x --show-ray",
        ),
        ("--set learning_rate=2e-3 quick --cluster c.yaml", "--set learning_rate=2e-3 quick"),
    ],
)
def test_options_of_a_sweep_stay_in_order(words: str, arguments: str) -> None:
    _, bound, _ = app.parse_args(["start", *words.split()])
    assert bound.args == tuple(arguments.split())
    assert bound.kwargs == {"cluster": Path("c.yaml")}


def test_every_command_has_its_help() -> None:
    for name in ("start", "follow", "stop", "status", "reap", "open", "fetch"):
        assert app[name].help
