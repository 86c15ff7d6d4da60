"""Mixtures, curricula and surprise: stopped anywhere and resumed, a trial gives the same bits."""

from __future__ import annotations

import pickle
import sysconfig
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from data.mixture import surprised
from data.prepare import prepare
from data.sources.mixed import mixed_name
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.observations import repeated
from tests.tune_app.trial.running import Corpora, run_to_end
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

SMALL: dict[str, Any] = {
    **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
    **{"tokens": 2_560, "batch_size": 4, "evaluations": 4, "evaluation_bytes": 1_024},
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of code and one of numbers, with little text to score."""
    folder = tmp_path_factory.mktemp("mixed")
    code = Path(sysconfig.get_path("stdlib")) / "argparse.py"
    (folder / "code.txt").write_text(code.read_text("utf-8")[:60_000])
    (folder / "numbers.txt").write_text("".join(f"{n} squared is {n * n}\n" for n in range(1_500)))
    return mixed_name([str(folder / "code.txt"), str(folder / "numbers.txt")])


@pytest.fixture(scope="module")
def corpora(name: str, cache: Path) -> Corpora:
    prepared = prepare(name, TokenizerSpec(vocab_size=512), cache=cache)
    return lambda tokenizer: prepared


SCHEDULES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    # Two stages of 5 steps each, then 10 steps; annealed from step 12 on.
    "annealed under a curriculum": (
        {
            **{"mixture": "80/20", "mixture_end": "30/70", "mixture_anneal": 0.4},
            "curriculum": "25%:8,25%:16:8",
        },
        (2, 5, 8, 10, 12, 16),
    ),
    "surprise": ({"mixture": "50/50", "mixture_surprise": 4.0}, (5, 7, 15)),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stopped_within_each_stage_at_each_boundary_and_while_annealing(
    name: str, corpora: Corpora, tmp_path: Path, schedule: str
) -> None:
    values, stops = SCHEDULES[schedule]
    cell = Cell.from_values({**SMALL, "corpus": name, **values})
    trial = Trial(cell, corpora=corpora)
    # What a killed process leaves is what was written, so nothing is shared with it.
    states = {}
    while not trial.finished:
        trial.advance(at_most=0.0)
        states[trial._training.steps] = (pickle.dumps(trial._state()), trial.tokens)
    assert max(states) == 20
    for step, following in pairwise((*stops, 20)):
        state, tokens = states[step]
        folder = tmp_path / str(step)
        folder.mkdir()
        checkpoints = Checkpoints(PathStore(folder), cell=cell.key)
        checkpoints.save(pickle.loads(state), tokens=tokens)
        resumed = Trial(cell, corpora=corpora, checkpoints=checkpoints)
        assert resumed.resumed_from == tokens
        while resumed.tokens < states[following][1] or resumed._unreported:
            resumed.advance(at_most=0.0)
        resumed.close()
        assert facts(resumed._state()) == facts(pickle.loads(states[following][0])), step


def facts(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial is and found, without what the clock had to do with it."""
    training = {
        name: plain(state["training"][name]) for name in ("model", "optimizer", "random", "tokens")
    }
    metrics = repeated((state["observation"] or {}).get("metrics", {}))
    rest = {name: state[name] for name in ("domains", "evaluations", "steps")}
    return {**training, **rest, "metrics": metrics}


def plain(value: Any) -> Any:
    """A state with the bytes of its tensors in their place."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_each_corpus_is_scored_and_the_shares_are_recorded(name: str, corpora: Corpora) -> None:
    values = {**SMALL, "corpus": name, "mixture": "50/50", "mixture_surprise": 4.0}
    trial = Trial(Cell.from_values(values), corpora=corpora)
    observations = run_to_end(trial)
    labels = ["code", "numbers"]
    state = trial._state()["domains"]
    for point in observations[:-1]:
        scores = [point.metrics[f"domain_bits_per_byte/{label}"] for label in labels]
        shares = [point.metrics[f"mixture_share/{label}"] for label in labels]
        assert shares == pytest.approx(surprised((0.5, 0.5), scores, state["starts"], power=4.0))
    # Numbers are learned faster, so that code is drawn more often.
    assert shares[0] > 0.6
    for label in labels:
        assert f"full_domain_bits_per_byte/{label}" in observations[-1].metrics
        assert f"full_domain_bits_per_byte/{label}" not in observations[0].metrics
    assert [step for step, _ in state["changes"]] == [5, 10, 15]
    assert [shares[0] for _, shares in state["changes"]] == [
        point.metrics[f"mixture_share/{labels[0]}"] for point in observations[:3]
    ]


def test_without_shares_corpora_are_mixed_by_their_size(name: str, corpora: Corpora) -> None:
    cell = Cell.from_values({**SMALL, "corpus": name, "tokens": 512, "evaluations": 1})
    (point,) = run_to_end(Trial(cell, corpora=corpora))
    assert "domain_bits_per_byte/numbers" in point.metrics
    assert not [metric for metric in point.metrics if metric.startswith("mixture_share")]


def test_short_sequences_fit_into_the_same_memory_in_more_of_them(
    name: str, corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"tokens": 512, "evaluations": 1, "curriculum": "50%:8,25%:16:3"}
    cell = Cell.from_values({**SMALL, "corpus": name, **values})
    (whole,) = run_to_end(Trial(cell, corpora=corpora))
    halved = Trial(cell, corpora=corpora, micro_batch_size=2)
    shapes: list[tuple[int, ...]] = []
    loss = halved._training._loss

    def seen(inputs_BT: torch.Tensor, *rest: Any) -> Any:
        shapes.append(tuple(inputs_BT.shape))
        return loss(inputs_BT, *rest)

    monkeypatch.setattr(halved._training, "_loss", seen)
    (point,) = run_to_end(halved)
    assert list(dict.fromkeys(shapes)) == [(8, 8), (3, 16), (2, 32)]
    assert point.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=1e-4)
