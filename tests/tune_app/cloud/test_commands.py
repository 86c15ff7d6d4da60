"""The command line of a cluster takes a sweep's options as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loaded import loaded_by
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tests.tune_app.stores.servers import free_port
from tune_app.cloud.commands import app, reap, status
from tune_app.cloud.reaping import is_name


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


def test_they_begin_without_what_only_some_of_them_need() -> None:
    assert loaded_by("import tune_app.cloud.reaping", "hcloud", "torch", "ray") == []


YAML = """\
cluster_name: mine
auth: {{ssh_user: me}}
provider:
  head: {{address: 127.0.0.1, port: {port}}}
  vast: {{base_url: {url}, cap_dollars: 1, node_types: {{gpu: {{image: cuda}}}}}}
"""


def test_a_laptop_with_the_key_needs_no_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeVast([offer(1)]) as fake:
        body = {"price": 0.3, "disk": 40, "label": "stellux/mine/gpu/2/a.1/h00000001"}
        fake.answer("PUT", "/api/v0/asks/1/", {}, body, fake.key)
        yaml = tmp_path / "cluster.yaml"
        yaml.write_text(YAML.format(port=free_port(), url=fake.url))
        monkeypatch.setenv("VAST_API_KEY", fake.key)
        assert status(cluster=yaml) == 0
        said = capsys.readouterr().out
        assert "cannot be reached" in said
        assert "Cluster mine: 1 machines are rented by its label, $0.308/h now" in said
        assert reap(yaml, orphans=True) == 0
        assert "kept, as they have an owner or may have one: 5000001" in capsys.readouterr().out
        assert len(fake.alive()) == 1
        assert reap(yaml, apart=0.01) == 0
        assert fake.alive() == []
        assert "no machine of the cluster 'mine' is rented any more" in capsys.readouterr().out


def test_a_name_is_told_from_a_file(tmp_path: Path) -> None:
    assert is_name(Path("stellux"))
    assert not is_name(Path("cluster.yaml"))
    assert not is_name(tmp_path / "stellux")
