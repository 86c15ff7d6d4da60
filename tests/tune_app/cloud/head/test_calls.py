"""The safeguards of the head's commands are called, and before anything changes."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.tune_app.cloud.autoscaling.ray_autoscaler import yaml_config
from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.metered_market import MeteredMarket
from tune_app.cloud.cluster_yaml.settings import check_config
from tune_app.cloud.errors import CloudError
from tune_app.cloud.head import bring_up, install, release, start
from tune_app.cloud.head.shell import HeadUnreachableError
from tune_app.cloud.head.units import CLOUD, FIREWALL
from tune_app.cloud.market.instance_request import InstanceRequest, WorkerStart
from tune_app.cloud.secrets.account_total import set_total
from tune_app.cloud.secrets.key import ApiKey


def never(*_: object, **__: object) -> NoReturn:
    raise AssertionError("something was changed")


def refuses(*_: object, **__: object) -> NoReturn:
    raise ValueError("refused")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The folder of settings that `ray up` sends."""
    folder = tmp_path / "sent"
    folder.mkdir()
    for name, text in bring_up.settings_files(
        check_config(yaml_config()), node_type="head"
    ).items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def market() -> MeteredMarket:
    return MeteredMarket(Clock(), price=0.2)


def opened(market: MeteredMarket) -> Any:
    @contextmanager
    def open_market(*_: object, **__: object) -> Iterator[MeteredMarket]:
        yield market

    return open_market


def test_the_firewall_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(install, "UNIT_FOLDER", tmp_path)
    monkeypatch.setattr(install, "SUDOERS", tmp_path / "sudoers.d" / "stellux")
    monkeypatch.setattr(install, "systemctl", lambda *words: calls.append(words))
    install._services()
    assert ("reload-or-restart", FIREWALL) in calls


def test_new_rules_are_on_trial_before_they_are_loaded(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        return lambda *_, **__: calls.append(name)

    for name in (
        *("refuse_other_clusters", "install_packages", "make_users", "_folders", "grant_access"),
        *("forget_token", "fill_home", "login_keys", "begin_trial", "_services"),
    ):
        monkeypatch.setattr(install, name, noted(name))
    monkeypatch.setattr(install, "write_file", lambda path, *_, **__: calls.append(str(path)))
    monkeypatch.setattr(install, "SystemAccount", SimpleNamespace(of=noted("of")))
    install.main(settings, login="root")
    assert calls[-3:] == ["begin_trial", str(install.head_paths.FIREWALL), "_services"]


def test_a_login_confirms_the_rules_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def confirm(_: object) -> NoReturn:
        calls.append("confirm")
        raise HeadUnreachableError("the new firewall keeps you out")

    class Shell:
        address, user = "head.example", "root"

        def as_root(self, *words: str) -> tuple[str, ...]:
            return words

        def run(self, *_: object, **__: object) -> str:
            return ""

        show = run

    shell: Any = Shell()
    monkeypatch.setattr(bring_up, "bundle", lambda _: b"")
    monkeypatch.setattr(bring_up, "_module", lambda _, name, *__, **___: calls.append(name))
    monkeypatch.setattr(bring_up, "confirm", confirm)
    with pytest.raises(HeadUnreachableError):
        bring_up.bring_up(
            yaml_config(),
            shell,
            say=lambda _: None,
            environment={"VAST_API_KEY": "secret"},
            home=tmp_path,
        )
    assert calls == ["install", "confirm"]


def test_only_root_reads_the_key(tmp_path: Path) -> None:
    start.store_key(ApiKey("secret"), tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_another_cluster_is_refused_before_anything_changes(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "refuse_other_clusters", refuses)
    monkeypatch.setattr(install, "install_packages", never)
    with pytest.raises(ValueError, match="refused"):
        install.main(settings, login="root")


def test_another_account_is_refused_before_its_key_is_kept(
    settings: Path, market: MeteredMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "DAEMON_SETTINGS", settings / "daemon.json")
    monkeypatch.setattr(start, "open_market", opened(market))
    monkeypatch.setattr(start, "_refuse_other_account", refuses)
    monkeypatch.setattr(start, "store_key", never)

    class Stdin:
        buffer = io.BytesIO(b"another-key\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    with pytest.raises(ValueError, match="refused"):
        start.main()


def test_a_head_is_not_released_while_something_is_rented(
    settings: Path, tmp_path: Path, market: MeteredMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "vast_key"
    key.write_text("secret\n", "utf-8")
    calls: list[tuple[str, ...]] = []
    label = f"stellux/{yaml_config()['cluster_name']}/gpu-worker/2/late.1"
    market.create(
        InstanceRequest(
            offer_id=7, bid=0.2, label=label, image="x", disk_gb=10.0, start=WorkerStart()
        )
    )
    monkeypatch.setattr(release, "DAEMON_SETTINGS", settings / "daemon.json")
    monkeypatch.setattr(release, "ACCOUNT_KEY", key)
    monkeypatch.setattr(release, "SUDOERS", tmp_path / "sudoers")
    monkeypatch.setattr(release, "shut_out", lambda _: None)
    monkeypatch.setattr(release, "systemctl", lambda *words: calls.append(words))
    monkeypatch.setattr(release, "open_market", opened(market))
    with pytest.raises(CloudError, match="instances 7 were rented meanwhile"):
        release.main()
    assert key.exists()
    assert calls[-1] == ("enable", "--now", CLOUD)


def test_a_cap_over_the_account_s_total_is_refused_first(tmp_path: Path) -> None:
    set_total(tmp_path, 1.0)

    class Shell:
        def __getattr__(self, _: str) -> NoReturn:
            raise AssertionError("the head was asked")

    shell: Any = Shell()
    with pytest.raises(ValueError, match=r"\$1.00 of the total of \$1.00"):
        bring_up.bring_up(
            yaml_config(),
            shell,
            say=never,
            environment={"VAST_API_KEY": "secret"},
            home=tmp_path,
        )
