"""What can be refused at once is, with the value, the limit and the remedy; a dry run leaves no
trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tune_app.cluster.options import Means, RunOptions
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stores.base import StoreError
from tune_app.sweep.checks import check_all, refuse_beyond_this_machine, resources


def plan_of(**fixed: Any) -> SweepPlan:
    sizes = {"target_parameters": 1_000_000, "vocab_size": 4_096, "tokens": 1_000}
    space = Space(name="small", axes={"glu_expansion": [2.0, 2.66]}, fixed={**sizes, **fixed})
    return make_plan(space, Wishes())


def test_resources_are_found_again_without_asking_the_store_again(tmp_path: Path) -> None:
    """As for another number of cells on a GPU, once that was found out."""
    away = str(tmp_path / "a file")
    Path(away).write_text("no folder")
    options = RunOptions(results=tmp_path / "runs", gpus=0, checkpoints=away)
    cells = plan_of().cells
    with pytest.raises(StoreError, match="a file"):
        check_all(plan_of(), options)
    assert resources(options, cells) == resources(replace(options, checkpoints=None), cells)


def test_a_dry_run_finds_the_resources_and_leaves_no_trace(tmp_path: Path) -> None:
    means = check_all(plan_of(), RunOptions(results=tmp_path / "runs", gpus=0), dry=True)
    assert (means.cpus, means.gpus) == (1, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fixed", "options", "message"),
    [
        ({}, {"gpus": 99}, "a cell needs 99 GPUs, torch finds .*; use"),
        ({}, {"cpus": 9_999}, "a cell needs 9999 CPUs, this machine has .*; use at most --cpus"),
        ({"corpus": "nowhere.txt"}, {}, "nowhere.txt does not exist"),
        ({"corpus": "wikitext-3"}, {}, "did you mean wikitext"),
        ({"warmup_fraction": 2.0}, {}, "warmup_fraction is 2.0"),
        ({"precision": "bf16"}, {}, "precision is 'bf16', which cpu has no instructions for"),
        ({"precision": "fp8"}, {}, "precision is 'fp8', which needs a GPU of compute capability"),
        ({"compile": "on"}, {}, "compile is 'on', but there is no C"),
        ({}, {"device": "mps", "gpus": None}, "device 'mps' is not available on this machine"),
        ({}, {"wandb": "online"}, "W&B online needs a key"),
        ({}, {"checkpoints": "ftp://host/x"}, "unknown kind of store ftp"),
        ({}, {"checkpoints": "/dev/null/x"}, "choose another --checkpoints"),
        ({}, {"results": Path("/dev/null/x")}, "choose another --results"),
    ],
)
def test_what_can_be_refused_at_once_is(
    fixed: Mapping[str, Any],
    options: Mapping[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr("model.training.hardware.bf16_is_fast", lambda device: False)
    monkeypatch.setattr("model.training.compilation.compiler_found", lambda device: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    asked = RunOptions(**{"results": tmp_path / "runs", "gpus": 0, **options})
    with pytest.raises((ValueError, OSError), match=message):
        check_all(plan_of(**fixed), asked, dry=True)


def test_a_sweep_with_nothing_left_to_train_needs_no_machine(tmp_path: Path) -> None:
    options = RunOptions(results=tmp_path, gpus=99, checkpoints="/dev/null/x")
    check_all(plan_of(), options, cells=[])


def test_more_cells_at_once_than_fit_are_the_users_choice() -> None:
    refuse_beyond_this_machine(
        Means(cells_at_once=64, cpus=2, gpus=0.5, device="cuda"), cpus=2, gpus=1
    )
    with pytest.raises(ValueError, match="use --gpus 0 to train on CPUs"):
        refuse_beyond_this_machine(
            Means(cells_at_once=1, cpus=1, gpus=1, device="cuda"), cpus=2, gpus=0
        )
