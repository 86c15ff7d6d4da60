"""One cell from start to end, without Ray.

A Trial owns its data, its model, its clock and its checkpoints. `advance` trains to the next
evaluation and returns an Observation; whoever calls it decides whether to go on.

python -m tune_app.trial '{"embedding_ratio": 0.45, "glu_expansion": 4.0, "tokens": 300000}'
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclopts import App
from rich.console import Console

from data.batches import EvaluationDocuments, TrainingBatches
from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from model.evaluation import evaluate
from model.parameter_budget import solve
from model.parameter_table import parameter_table
from model.training import Training, TrainingConfig
from tune_app.cell import Cell
from tune_app.checkpoints import CheckpointFolder, is_due
from tune_app.command import run_command
from tune_app.devices import checked_device, default_device, use_threads
from tune_app.kill_rule import diverged
from tune_app.records import PHASES, Observation

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 16
"""Sequences scored at once; bounds memory and changes no figure."""

_NOT_TRAINING = ("corpus", "evaluations", "evaluation_bytes")


def training_config(cell: Cell, *, tokens: int) -> TrainingConfig:
    """What model.training needs to know of a cell that trains `tokens` of its own tokens."""
    values = asdict(cell.settings)
    for name in _NOT_TRAINING:
        del values[name]
    return TrainingConfig(**{**values, "tokens": tokens}, seed=cell.seed)


class Trial:
    """A cell's training, resumable at any step.

    Args:
        cell: what to train.
        corpora: gives the prepared corpus of a vocabulary size.
        checkpoints: folder of this cell's checkpoints; None trains without any.
        device: `cpu`, `cuda`, …
        clock: monotonic seconds.

    Raises ValueError where the corpus, the budget or a setting is impossible.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        corpora: Callable[[int], PreparedCorpus],
        checkpoints: Path | None = None,
        device: str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.cell = cell
        self.resumed_from = 0
        """Tokens of the checkpoint that the trial started from."""
        self._clock = clock
        self._seconds = dict.fromkeys(PHASES, 0.0)
        with self._phase("data"):
            corpus = corpora(cell.model.vocabulary)
            reference = corpora(cell.baseline.vocabulary)
            batches = TrainingBatches(
                corpus.split("train"),
                context=cell.model.context,
                batch_size=cell.settings.batch_size,
                seed=cell.seed,
            )
            self._sample = _dev_documents(
                corpus, context=cell.model.context, max_bytes=cell.settings.evaluation_bytes
            )
            self._whole = _dev_documents(corpus, context=cell.model.context, max_bytes=None)
        self._own_per_reference = reference.bytes_per_token("train") / corpus.bytes_per_token(
            "train"
        )
        reference_sample = _dev_documents(
            reference, context=cell.baseline.context, max_bytes=cell.settings.evaluation_bytes
        )
        self._reference_bytes_per_token = reference_sample.text_bytes / reference_sample.tokens
        """Of the documents scored while training: one number for all cells of a sweep."""
        with self._phase("start"):
            self.config = solve(cell.model)
            self._training = Training(
                self.config,
                training_config(cell, tokens=self._own_tokens),
                batches,
                baseline=solve(cell.baseline),
                device=device,
            )
        self._evaluations = 0
        self._learning_rate = 0.0
        self._losses: list[float] = []
        """Training losses since the last evaluation."""
        self._last: Observation | None = None
        self._unreported = False
        """Whether `_last` comes from a checkpoint, so that its first report may have been lost."""
        self._checkpoints = (
            None if checkpoints is None else CheckpointFolder(checkpoints, cell=cell.key)
        )
        self._save_cost = 0.0
        self._mark = (0, 0.0)
        """Tokens and seconds of training at the last evaluation."""
        with self._phase("start"):
            self._resume()
        self._saved_at = clock()

    @property
    def tokens(self) -> int:
        """Tokens trained, of the cell's own tokenizer."""
        return self._training.tokens

    @property
    def finished(self) -> bool:
        """Whether training is done and its last evaluation returned."""
        return self._all_evaluated and not self._unreported

    @property
    def _all_evaluated(self) -> bool:
        return self._evaluations >= self.cell.settings.evaluations

    def advance(self, *, at_most: float = math.inf) -> Observation | None:
        """Trains to the next evaluation and evaluates.

        A resumed trial first returns its checkpoint's observation again, in case that the report
        of it was lost. A loss that is not finite ends the training there; the observation has it.

        Args:
            at_most: seconds; where training needs longer None is returned, to be called again.
                Each call trains a step or evaluates.
        """
        assert not self.finished
        if self._unreported:
            self._unreported = False
            return self._last
        goal = self._goal(self._evaluations + 1)
        started = self._clock()
        while self._training.tokens < goal:
            with self._phase("train"):
                result = self._training.step()
            self._learning_rate = result.learning_rate
            # A gradient beyond all numbers is divergence too, even where the loss looks calm.
            loss = result.loss if math.isfinite(result.gradient_norm) else math.nan
            self._losses.append(loss)
            if not math.isfinite(loss):
                break
            self._save_if_due()
            if self._training.tokens < goal and self._clock() - started > at_most:
                return None
        self._last = self._observe()
        if math.isfinite(self._last.train_loss):
            self._save_if_due()
        return self._last

    def save(self) -> None:
        """Writes a checkpoint now. Raises OSError where the disk refuses it."""
        if self._checkpoints is None:
            return
        started = self._clock()
        self._checkpoints.save(self._state(), tokens=self._training.tokens)
        self._saved_at = self._clock()
        self._save_cost = self._saved_at - started

    def _observe(self) -> Observation:
        trained, train_seconds = self._mark
        seconds = self._seconds_by_phase()["train"]
        # A step may pass several goals at once, where steps are longer than the interval.
        settings = self.cell.settings
        while self._evaluations < settings.evaluations and (
            self._goal(self._evaluations + 1) <= self._training.tokens
        ):
            self._evaluations += 1
        with self._phase("evaluate"):
            sample = evaluate(self._training.model, self._sample)
            whole = evaluate(self._training.model, self._whole) if self._all_evaluated else None
        elapsed = seconds - train_seconds
        losses, self._losses = self._losses, []
        self._mark = (self._training.tokens, seconds)
        return Observation(
            cell=self.cell.key,
            tokens=self._training.tokens,
            reference_tokens=round(self._training.tokens / self._own_per_reference),
            bits_per_byte=sample.bits_per_byte,
            perplexity=sample.perplexity,
            reference_perplexity=self._in_reference_tokens(sample.bits_per_byte),
            train_loss=sum(losses) / len(losses) if losses else math.nan,
            learning_rate=self._learning_rate,
            tokens_per_second=(self._training.tokens - trained) / elapsed if elapsed > 0 else 0.0,
            seconds=self._seconds_by_phase(),
            whole_bits_per_byte=None if whole is None else whole.bits_per_byte,
            whole_perplexity=None if whole is None else whole.perplexity,
        )

    def _goal(self, evaluation: int) -> int:
        """Own tokens at which an evaluation is due: evenly spaced in text, not in tokens."""
        settings = self.cell.settings
        reference = settings.tokens * evaluation / settings.evaluations
        return min(math.ceil(reference * self._own_per_reference), self._own_tokens)

    @property
    def _own_tokens(self) -> int:
        """The trial's tokens in those of its own tokenizer."""
        return math.ceil(self.cell.settings.tokens * self._own_per_reference)

    def _in_reference_tokens(self, bits_per_byte: float) -> float:
        """exp(bits per byte · ln 2 · bytes per token of the baseline's tokenizer)."""
        nats = bits_per_byte * math.log(2) * self._reference_bytes_per_token
        return math.exp(nats) if nats < 700 else math.inf

    def _save_if_due(self) -> None:
        if not is_due(self._clock() - self._saved_at, self._save_cost):
            return
        try:
            self.save()
        except OSError as error:
            # Training is worth more than its copy: the next interval tries again.
            self._saved_at = self._clock()
            logger.warning("no checkpoint at %d tokens (%s); training goes on", self.tokens, error)

    def _state(self) -> dict[str, Any]:
        return {
            "training": self._training.state_dict(),
            "evaluations": self._evaluations,
            "learning_rate": self._learning_rate,
            "losses": list(self._losses),
            "mark": self._mark,
            "seconds": self._seconds_by_phase(),
            "observation": None if self._last is None else self._last.as_dict(),
        }

    def _resume(self) -> None:
        checkpoint = None if self._checkpoints is None else self._checkpoints.newest()
        if checkpoint is None:
            return
        state: Mapping[str, Any] = checkpoint.state
        self._training.load_state_dict(state["training"])
        self._evaluations = state["evaluations"]
        self._learning_rate = state["learning_rate"]
        self._losses = list(state["losses"])
        self._mark = state["mark"]
        for phase, seconds in state["seconds"].items():
            self._seconds[phase] += seconds
        if state["observation"] is not None:
            self._last = Observation(**state["observation"])
            self._unreported = True
        self.resumed_from = checkpoint.tokens
        logger.info("cell %s resumes from %d tokens", self.cell.key, checkpoint.tokens)

    def _seconds_by_phase(self) -> dict[str, float]:
        """Training time without the compilation that its first step waited for."""
        compiled = self._training.compile_seconds
        return {
            **self._seconds,
            "compile": self._seconds["compile"] + compiled,
            "train": self._seconds["train"] - compiled,
        }

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - started


def _dev_documents(
    corpus: PreparedCorpus, *, context: int, max_bytes: int | None
) -> EvaluationDocuments:
    return EvaluationDocuments(
        corpus.split("valid"),
        context=context,
        batch_size=EVALUATION_BATCH,
        end_of_text=corpus.end_of_text,
        max_bytes=max_bytes,
    )


app = App(
    name="python -m tune_app.trial",
    help="""Train one cell from start to end, without Ray.

    A cell is JSON: any of the values of a model (embedding_ratio, glu_expansion, output_head,
    feed_forward, target_parameters, vocabulary, heads, context), of its training (tokens,
    batch_size, learning_rate, schedule, warmup_fraction, weight_decay, gradient_clip, precision,
    compile, deterministic), of its scores (corpus, evaluations, evaluation_bytes) and the seed.
    What it leaves out takes its default.

    Examples:

    python -m tune_app.trial '{"embedding_ratio": 0.45, "glu_expansion": 4.0, "tokens": 300000}'

    python -m tune_app.trial '{"corpus": "wikitext-2"}' --checkpoints my_trial --threads 2""",
    help_format="plaintext",
    version_flags=[],
)


@app.default
def train(
    cell: str = "{}",
    *,
    checkpoints: Path | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> int:
    """Train one cell.

    Parameters
    ----------
    cell
        Values as JSON, or the path of a .json file.
    checkpoints
        Folder to keep checkpoints in, and to resume from; each cell has a folder of its own there.
    threads
        CPU threads; default all.
    device
        cpu, cuda, …; default the first GPU where there is one.
    """
    if threads is not None:
        use_threads(threads)
    wanted = read_cell(cell)
    console = Console()

    def corpus(vocabulary: int) -> PreparedCorpus:
        with progress_display(console) as report:
            return prepare(wanted.settings.corpus, vocabulary=vocabulary, report=report)

    trial = Trial(
        wanted,
        corpora=corpus,
        checkpoints=None if checkpoints is None else checkpoints / wanted.key,
        device=checked_device(device) if device else default_device(),
    )
    console.print(parameter_table(trial.config).as_text(), markup=False, highlight=False)
    if trial.resumed_from:
        console.print(f"resumed at {trial.resumed_from:,} tokens")
    console.print(f"{'tokens':>12}{'dev bpb':>10}{'dev ppl':>10}{'train loss':>12}{'tokens/s':>10}")
    observation = None
    while not trial.finished:
        observation = trial.advance()
        assert observation is not None, "there is no limit of time"
        console.print(
            f"{observation.tokens:>12,}{observation.bits_per_byte:>10.4f}"
            f"{observation.perplexity:>10.2f}{observation.train_loss:>12.4f}"
            f"{observation.tokens_per_second:>10,.0f}",
            highlight=False,
        )
        if (kill := diverged(observation)) is not None:
            console.print(f"diverged: {kill.reason}")
            return 1
    assert observation is not None, "even a finished trial repeats its last observation"
    console.print(
        f"whole dev split: {observation.whole_bits_per_byte:.4f} bits per byte, "
        f"perplexity {observation.whole_perplexity:.2f}",
        highlight=False,
    )
    return 0


def read_cell(text: str) -> Cell:
    """A cell from JSON, or from a file of it. Raises ValueError saying what is wrong with it."""
    if text.endswith(".json"):
        text = Path(text).read_text("utf-8")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the cell is no JSON ({error}): {text[:60]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the cell is {text[:60]}; it must be a JSON object")
    return Cell.from_values(values)


if __name__ == "__main__":
    sys.exit(run_command(app, "tune_app.trial"))
