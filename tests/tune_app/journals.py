"""A sweep's journal as a real sweep would leave it, made up in a moment, for tests that read one.

    from tests.tune_app.journals import make_journal

    with make_journal(tmp_path / "journal.sqlite3") as journal: ...

Twelve cells of three embedding shares and four expansions, with curves that fall, and one cell of
every fate: finished, stopped by ASHA at a quarter and at a half, stopped by the baseline rule,
diverged, failed and infeasible. Everything is a pure function of the arguments.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.tune_app.observations import observation
from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener, SweepListener
from tune_app.journal.records import (
    COMPLETED,
    DIVERGED,
    Action,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Status,
    SweepRecord,
)

SHARES = (0.25, 0.35, 0.45)
EXPANSIONS = (2.0, 2.66, 3.0, 4.0)
BASELINE = {"embedding_ratio": 0.35, "glu_expansion": 2.66}
BYTES_PER_TOKEN = 3.1
EVALUATIONS = 8

FATES: dict[tuple[Any, ...], str] = {
    (0.25, 3.0): "asha 2",
    (0.25, 4.0): "asha 4",
    (0.35, 2.0): "asha 2",
    (0.35, 4.0): "baseline 6",
    (0.45, 2.0): "diverged 3",
    (0.45, 2.66): "asha 4",
    (0.45, 3.0): "failed 1",
    (0.45, 4.0): "infeasible",
}
"""By the values on the axes. `asha 2`: stopped by stopping ASHA at the second of eight evaluations.

Where a cell is not named it finishes. Other fates: `pending`, `running 3`, `lost 3`: its host is
lost at the third evaluation, and it finishes on another; and `unknown 3`: stopped by a rule that
this version does not know.
"""


def make_journal(
    path: Path,
    *,
    axes: Mapping[str, Sequence[Any]] | None = None,
    seeds: Sequence[int] = (0,),
    fates: Mapping[tuple[Any, ...], str] | None = None,
    tokens: int = 150_000,
    target_parameters: int = 1_000_000,
    scheduler: str = "asha-stop",
    listener: SweepListener | None = None,
) -> Journal:
    """A journal at `path` with a cell for every combination of the axes' values and seeds.

    The default axes come with FATES, axes of the caller's with cells that all finish. With
    several seeds a fate strikes the first seed alone, so that some designs finish in part. A
    listener hears of everything as it happens.
    """
    listener = listener or QuietListener()
    if axes is None:
        axes, fates = {"embedding_ratio": SHARES, "glu_expansion": EXPANSIONS}, fates or FATES
    fates = fates or {}
    cells = _cells(axes, seeds, fates, tokens, target_parameters)
    journal = Journal.create(
        path,
        SweepRecord(
            name=path.parent.name or "sweep",
            space="quick",
            corpus="stdlib",
            corpus_sha256=hashlib.sha256(b"stdlib").hexdigest(),
            baseline=cells[0].key,
            tokens=tokens,
            seeds=tuple(seeds),
            scheduler={"name": "asha-stop", "reduction_factor": 2, "grace_fraction": 0.25}
            if scheduler == "asha-stop"
            else {"name": "none"},
            kill_rule={
                "unit": "ppl",
                "margin": 0.5,
                "span": tokens // 5,
                "minimum_evaluations": 4,
            },
            bytes_per_token={"byte_level_bpe-4096": BYTES_PER_TOKEN},
            created_at=1_760_000_000.0,
            command="python -m tune_app.sweep quick",
            axes=(*axes, "seed") if len(seeds) > 1 else tuple(axes),
            versions={
                "source": "219f9e30a3b1, changed",
                "torch": "2.13.0",
                "ray": "2.60.0",
                "python": "3.11.2",
            },
        ),
        cells,
        clock=_Clock(1_760_000_100.0),
    )
    listener.sweep_started(journal)
    # Two cells at a time, as two workers would report them.
    queue = [cell for cell in cells if cell.status is Status.PENDING]
    while queue:
        pair = [
            play(journal, cell, _fate(cell, axes, seeds, fates), tokens, listener)
            for cell in queue[:2]
        ]
        queue = queue[2:]
        for _ in itertools.zip_longest(*pair):
            pass
    listener.sweep_ended()
    return journal


def _fate(
    cell: CellRecord,
    axes: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    fates: Mapping[tuple[Any, ...], str],
) -> str:
    if cell.values["seed"] != seeds[0]:
        return "finished"
    return fates.get(tuple(cell.values[axis] for axis in axes), "finished")


def _cells(
    axes: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    fates: Mapping[tuple[Any, ...], str],
    tokens: int,
    target_parameters: int,
) -> list[CellRecord]:
    designs = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    designs.sort(key=lambda design: any(design.get(k, v) != v for k, v in BASELINE.items()))
    cells: list[CellRecord] = []
    for design, seed in itertools.product(designs, seeds):
        values = {
            "embedding_ratio": 0.35,
            "glu_expansion": 2.66,
            "embedding": "tied",
            "feed_forward": "swiglu",
            "vocab_size": 4_096,
            "target_parameters": target_parameters,
            "n_heads": 4,
            "context": 256,
            "tokens": tokens,
            "batch_size": 4,
            "learning_rate": 0.004,
            "corpus": "stdlib",
            "baseline": {"d_model": 88, "n_layers": 6},
            **design,
            "seed": seed,
        }
        infeasible = fates.get(tuple(design.values())) == "infeasible"
        config, parameters = _solved(values)
        label = " × ".join(_short(axis, value) for axis, value in design.items())
        cells.append(
            CellRecord(
                key=hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16],
                label=f"{label} × seed {seed}" if len(seeds) > 1 else label,
                position=len(cells),
                values=values,
                status=Status.INFEASIBLE if infeasible else Status.PENDING,
                reason="No depth from 2 to 32 gives 1.00M ± 0.5 % with share 0.45 and expansion "
                "4.0 at V = 4,096; nearest 1.01M; lower the share"
                if infeasible
                else "",
                config=None if infeasible else config,
                parameters=None if infeasible else parameters,
                flops_per_token=None if infeasible else 6.1 * parameters["total"],
            )
        )
    return cells


def _short(axis: str, value: Any) -> str:
    return f"{value:.0%}" if axis == "embedding_ratio" else str(value)


def _solved(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes and counts that belong together, near the budget; not the solver's own."""
    total, vocab_size = values["target_parameters"], values["vocab_size"]
    d_model = round(values["embedding_ratio"] * total / vocab_size)
    inner = round(values["glu_expansion"] * d_model)
    head_dim = max(2, 2 * round(d_model / values["n_heads"] / 2))
    attention, feed_forward = 4 * d_model * values["n_heads"] * head_dim, 3 * d_model * inner
    n_layers = max(2, round((total - vocab_size * d_model) / (attention + feed_forward)))
    parts = {
        "embedding": vocab_size * d_model,
        "lm_head": 0,
        "attention": n_layers * attention,
        "feed-forward": n_layers * feed_forward,
        "norms": (2 * n_layers + 1) * d_model,
    }
    count = sum(parts.values())
    parameters = {
        "rows": [
            {"part": part, "shape": "", "parameters": number, "share": number / count}
            for part, number in parts.items()
        ],
        "total": count,
        "embedding": parts["embedding"],
        "embedding_share": parts["embedding"] / count,
    }
    config = {
        "vocab_size": vocab_size,
        "context": values["context"],
        "d_model": d_model,
        "n_layers": n_layers,
        "n_heads": values["n_heads"],
        "head_dim": head_dim,
        "d_ff": inner,
        "embedding": values["embedding"],
        "attention": "multi_head",
        "feed_forward": values["feed_forward"],
    }
    return config, parameters


def _bits_per_byte(values: Mapping[str, Any], fraction: float) -> float:
    """A power law of the trained fraction, its end and its slope moved a little by the design."""
    chance = random.Random(json.dumps([values[key] for key in sorted(values)], default=str))
    share, expansion = values["embedding_ratio"], values["glu_expansion"]
    end: float = 2.31 + 1.2 * (share - 0.31) ** 2 + 0.012 * abs(expansion - 2.8)
    end += 0.02 * (values["embedding"] == "untied") + 0.015 * (values["feed_forward"] != "swiglu")
    start: float = 0.62 + 1.1 * share
    noise: float = 0.004 * math.sqrt(1 - fraction * 0.8) * chance.gauss(0, 1)
    return end + start * (float(fraction**-0.45) - 1) / (float(0.125**-0.45) - 1) + noise


def play(
    journal: Journal, cell: CellRecord, fate: str, tokens: int, listener: SweepListener
) -> Iterator[None]:
    """Trains the cell on paper, an observation a step."""
    kind, _, last = fate.partition(" ")
    if kind == "pending":
        return
    journal.start_attempt(cell.key)
    listener.cell_started(journal.cell(cell.key))
    steps = int(last) if last and kind != "lost" else EVALUATIONS
    assert cell.config is not None
    speed = 21_000 / (1 + cell.config["n_layers"] / 12)
    for step in range(1, steps + 1):
        trained = tokens * step // EVALUATIONS
        if kind == "lost" and step == int(last):
            _lose_host(journal, cell, trained, listener)
        value = _bits_per_byte(cell.values, step / EVALUATIONS)
        if kind == "diverged" and step == steps:
            value = math.nan
        if kind == "baseline":
            value += 0.05
        observation = _observation(
            cell,
            trained=trained,
            value=value,
            speed=speed,
            step=step,
            whole=kind in ("finished", "lost") and step == steps,
        )
        decision = _decision(observation, kind, tokens) if step == steps else None
        if journal.observation(cell.key, trained) is not None:
            continue
        journal.record(observation, decision)
        listener.observed(observation, journal.decision(cell.key, trained))
        yield
    if kind == "failed":
        failure = journal.fail(
            Failure(
                cell=cell.key,
                kind=FailureClass.CODE,
                reason="RuntimeError: DataLoader <worker> ran out of shared memory",
                traceback="Traceback (most recent call last):\n"
                '  File "trial.py", line 120, in train\n'
                "    loss = training.step()\n"
                "RuntimeError: DataLoader <worker> ran out of shared memory\n",
                ended=True,
                tokens=tokens * steps // EVALUATIONS,
            )
        )
        listener.cell_failed(failure)


def _lose_host(journal: Journal, cell: CellRecord, tokens: int, listener: SweepListener) -> None:
    """The host goes a little before so many tokens; another takes the cell up from earlier."""
    journal.beat(cell.key, tokens - 500, "worker-1")
    failure = journal.fail(
        Failure(
            cell=cell.key,
            kind=FailureClass.HOST,
            reason="the worker's process is gone",
            traceback="",
            ended=False,
            host="worker-1",
            tokens=tokens - 500,
            cause="the node died",
            remedy="retried",
        )
    )
    listener.cell_failed(failure)
    journal.start_attempt(cell.key, host="worker-2")
    journal.resumed(cell.key, tokens - 3_000)
    listener.cell_started(journal.cell(cell.key))
    journal.beat(cell.key, tokens - 1_000, "worker-2")


def _perplexity(bits_per_byte: float) -> float:
    return math.exp(bits_per_byte * math.log(2) * BYTES_PER_TOKEN)


def _observation(
    cell: CellRecord, *, trained: int, value: float, speed: float, step: int, whole: bool
) -> Observation:
    fraction = step / EVALUATIONS
    return observation(
        cell.key,
        trained,
        bits_per_byte=value,
        perplexity=_perplexity(value),
        baseline_token_perplexity=_perplexity(value),
        train_loss=(value - 0.03) * math.log(2) * BYTES_PER_TOKEN,
        learning_rate=0.004 * 0.5 * (1 + math.cos(math.pi * fraction)),
        gradient_norm=0.4 + 0.8 / step,
        tokens_per_second=speed * (1 + 0.02 * math.sin(step)),
        seconds={
            "start": 2.1 if cell.position < 2 else 0.2,
            "data": 0.4,
            "compile": 0.0,
            "train": trained / speed,
            "evaluate": 0.35 * step + (1.8 if whole else 0.0),
        },
        full_bits_per_byte=value + 0.011 if whole else None,
        full_perplexity=_perplexity(value + 0.011) if whole else None,
    )


def _decision(observation: Observation, kind: str, tokens: int) -> Decision | None:
    if kind in ("failed", "running"):
        return None
    value = observation.bits_per_byte
    outcomes: dict[str, tuple[Action, str, str, dict[str, Any]]] = {
        "finished": (Action.FINISH, COMPLETED, f"trained all its {tokens:,} tokens", {}),
        "lost": (Action.FINISH, COMPLETED, f"trained all its {tokens:,} tokens", {}),
        "asha": (
            Action.STOP,
            "asha-stop",
            f"{value:.4f} bits per byte at {observation.tokens:,} tokens is not in the better half "
            f"of 5 cells there (cut {value - 0.02:.4f})",
            {"rung": observation.tokens, "cut": value - 0.02, "recorded": 5},
        ),
        "baseline": (
            Action.STOP,
            "kill_rule",
            f"perplexity ≥ 0.5 worse than the baseline's over {tokens // 5:,} tokens, at each of "
            "4 evaluations",
            {"gaps": [8.1, 8.4, 8.2, 8.6], "margin": 0.5, "span": tokens // 5},
        ),
        "unknown": (Action.STOP, "some_later_rule", "not as good as it should be", {}),
        "diverged": (Action.STOP, DIVERGED, "dev bits per byte is nan", {"value": value}),
    }
    action, rule, reason, evidence = outcomes[kind]
    return Decision(
        cell=observation.cell,
        tokens=observation.tokens,
        action=action,
        rule=rule,
        reason=reason,
        evidence=evidence,
    )


class _Clock:
    """Seconds that pass with every reading, so that what is written has an order and no chance."""

    def __init__(self, start: float) -> None:
        self._now = start

    def __call__(self) -> float:
        self._now += 0.75
        return self._now
