"""Settings from a file: what is misspelt or impossible is named, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tune_app.cloud.renting.settings import Patience, load_settings

GOOD: dict[str, Any] = {
    "cluster": "mine",
    "cap_dollars": 20,
    "node_types": {"worker": {"image": "cuda", "rules": {"gpus": ["RTX 4090"], "disk_gb": 30}}},
    "patience": {"loading": 600},
}


def write(folder: Path, values: object) -> Path:
    path = folder / "settings.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")
    return path


def test_settings_come_from_json(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.cap_dollars == 20.0
    assert settings.patience == Patience(loading=600.0)
    assert settings.node_type("worker").rules.gpus == ("RTX 4090",)
    with pytest.raises(ValueError, match="unknown node type 'head'; expected one of worker"):
        settings.node_type("head")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cap": 20}, "unknown setting 'cap'; expected one of base_url"),
        ({"cap_dollars": "20"}, "cap_dollars is '20'; a number is expected"),
        ({"cap_dollars": 0}, "cap is 0"),
        ({"cluster": "my cluster"}, "letters, digits"),
        ({"max_instances": 200}, "1 to 126"),
        ({"node_types": {}}, "no node type"),
        ({"node_types": {"worker": {}}}, r"missing in node_types.worker: image"),
        ({"node_types": {"worker": {"image": ""}}}, "name one"),
        ({"node_types": {"w": {"image": "x", "rules": {"gpus": "RTX"}}}}, "a list is expected"),
        ({"node_types": {"w": {"image": "x", "rules": {"gpus": ["GTX"]}}}}, "needs a speed"),
        ({"patience": {"lost": 0}}, "time-out lost is 0"),
        ({"patience": {"look": 40}}, "lower http or look"),
        ({"patience": []}, "an object is expected"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        load_settings(write(tmp_path, GOOD | change))
    assert "settings.json" in str(caught.value)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        load_settings(write(tmp_path, "{"))
