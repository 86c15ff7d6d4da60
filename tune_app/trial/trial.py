"""One cell from start to end, without Ray.

A Trial owns its data, its model, its clock and its checkpoints. `advance` trains to the next
evaluation and returns an Observation; the caller decides whether to continue.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.evaluation.bits_per_byte import evaluate
from model.training.compiler import Compiler
from model.training.hardware import EVALUATION, differences, kind_of
from model.training.opening import open_training
from model.training.steps import StepResult, read_all
from tune_app.devices import peak_memory
from tune_app.journal.records import PHASES, Observation
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoint_upload import LONGEST_PAUSE, Uploads
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.data import TrialData
from tune_app.trial.domains import Domains
from tune_app.trial.former_states import FORMAT
from tune_app.trial.held_batches import batches_of
from tune_app.trial.held_samples import samples_of
from tune_app.trial.sample import score_sample
from tune_app.trial.step_metrics import StepMetrics
from tune_app.trial.unstored import Unstored

logger = logging.getLogger(__name__)

_SAVE_PATIENCE = 30.0
"""Seconds that `save` waits for a checkpoint to be stored."""
_SOON = 0.1
"""Seconds in which a near store has the last checkpoint of a small model."""


class Trial:
    """A cell's training, resumable at any step.

    Args:
        cell: what to train.
        solved: the sizes to train, and those of the baseline; None solves them here.
        corpora: returns the corpus as packed by a tokenizer.
        checkpoints: of this cell; None trains without any.
        timing: when to take them.
        micro_batch_size: sequences per micro-batch; None for the whole batch.
        device: `cpu`, `cuda`, …
        compiler: of this process, if it trains several cells.
        processes: how many of this host train the model together; on GPUs each has one.
        cuda_graph: whether a step is started as one CUDA graph, with the same results.
        clock: monotonic seconds.

    Raises ValueError if the corpus, the budget or a setting is impossible, StoreError if the store
    of the checkpoints does not answer.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        solved: SolvedModels | None = None,
        corpora: Callable[[TokenizerSpec], PreparedCorpus],
        checkpoints: Checkpoints | None = None,
        timing: CheckpointTiming = CheckpointTiming(),  # noqa: B008 - it is frozen
        micro_batch_size: int | None = None,
        device: str = "cpu",
        compiler: Compiler | None = None,
        processes: int = 1,
        cuda_graph: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.cell = cell
        self.resumed_from = 0
        """Tokens of the checkpoint that the trial started from."""
        self._resumed_name: str | None = None
        self.damaged: tuple[str, ...] = ()
        """A sentence for each newer checkpoint that could not be used."""
        self._device = device
        self._clock = clock
        self._seconds = dict.fromkeys(PHASES, 0.0)
        with self._phase("data"):
            self._data = TrialData(cell, corpora=corpora, device=device)
        with self._phase("start"):
            solved = solved or SolvedModels.of(cell)
            self.config = solved.model
            self._baseline = solved.baseline
            self._training = open_training(
                self.config,
                cell.training_config(
                    tokens=self._data.tokens,
                    warmup_tokens=self._data.warmup_tokens,
                    micro_batch_size=micro_batch_size,
                ),
                batches_of(self._data, device=device, processes=processes),
                baseline=solved.baseline,
                device=device,
                compiler=compiler,
                sequences=self._data.sequences,
                processes=processes,
                cuda_graph=cuda_graph,
            )
            self._samples = samples_of(
                self._data, device=device, precision=str(self._training.environment[EVALUATION])
            )
        self._domains = Domains(
            self._data.domains,
            self._data.batches,
            samples=self._samples.domains,
            precision=self._samples.precision,
            shares=cell.settings.mixture,
            surprise=cell.settings.mixture_surprise,
        )
        self._evaluations = 0
        self._steps = StepMetrics()
        """Of the steps since the last evaluation."""
        self._ahead: list[StepResult] = []
        """Steps whose numbers are still on the device."""
        self._steps_ahead = kind_of(device).STEPS_AHEAD
        self._last: Observation | None = None
        self._unreported = False
        """Whether `_last` comes from a checkpoint, so that its first report may have been lost."""
        self._unstored: Unstored | None = None
        """While the last checkpoint is being stored."""
        self._full_rate_until = self._data.full_rate_until(cell)
        """Tokens of the checkpoint from which the cell can be trained on more tokens; None if no
        checkpoint could."""
        self._timing = timing
        self._uploads = self._open_uploads(checkpoints)
        self._save_cost = 0.0
        """Seconds of training that the last checkpoint cost."""
        self._save_now = False
        """Whether a checkpoint is due regardless of the clock."""
        self._mark = (0, 0.0)
        """Tokens and seconds of training at the last evaluation."""
        with self._phase("start"):
            try:
                self._resume(checkpoints)
            except BaseException:
                self.close()
                raise
        self._saved_at = clock()

    @property
    def tokens(self) -> int:
        """Tokens trained, of the cell's own tokenizer."""
        return self._training.tokens

    @property
    def stored(self) -> str | None:
        """The name of the newest checkpoint in the store; None if there is none."""
        stored = None if self._uploads is None else self._uploads.stored
        return stored or self._resumed_name

    @property
    def compile_failure(self) -> str:
        """Why it trains eager although compiling would pay; empty if it does not."""
        return self._training.compile_failure

    @property
    def finished(self) -> bool:
        """Whether training is done and its last evaluation returned."""
        return self._all_evaluated and not self._unreported and self._unstored is None

    @property
    def only_stores(self) -> bool:
        """Whether it is trained and scored, and a copy of its last checkpoint is being stored: then
        `leave` ends it at once."""
        return self._unstored is not None and self._unstored.is_copied

    @property
    def trained(self) -> bool:
        """Whether it resumed from the end of its training, so that nothing is left to train."""
        return self._unreported and self._all_evaluated

    @property
    def _all_evaluated(self) -> bool:
        return self._evaluations >= self.cell.settings.evaluations

    def advance(self, *, at_most: float = math.inf) -> Observation | None:
        """Trains to the next evaluation and evaluates.

        A resumed trial first returns the observation in its checkpoint again, in case its report
        was lost. A NaN or infinite loss ends training and is in the observation. The last
        observation is returned once its checkpoint is stored, or after ten minutes without success.

        Args:
            at_most: seconds; if training takes longer, returns None and is to be called again.
                Each call trains at least a step or evaluates. One that ends the training returns
                as soon as it is seen that storing the last checkpoint takes a while.
        """
        assert not self.finished
        if self._unreported:
            self._unreported = False
            return self._last
        if self._unstored is not None:
            return self._ended(at_most)
        goal = self._data.goal(self._evaluations + 1)
        started = self._clock()
        if self._training.tokens == 0:
            with self._phase("evaluate"):
                self._domains.begin(self._training.model)
        while self._training.tokens < goal:
            self._keep_if_last_at_full_rate()
            with self._phase("train"):
                self._ahead.append(self._training.step())
                if not self._must_read(goal):
                    continue
                finite = self._read_ahead()
            if not finite:
                break
            if self._training.tokens < goal:  # at the goal only after its evaluation
                self._save_if_due()
                if self._clock() - started > at_most:
                    return None
        before = 0 if self._last is None else self._last.baseline_tokens
        self._last = self._observe()
        if not math.isfinite(self._last.train_loss) or self._uploads is None:
            return self._last
        if self._all_evaluated:
            self._unstored = Unstored(
                self._last,
                cell=self.cell.key,
                known=before,
                uploads=self._uploads,
                send=self._begin_upload,
                clock=self._clock,
            )
            return self._ended(at_most if at_most == math.inf else min(_SOON, at_most))
        self._save_now |= self._timing.passes_rung(before, self._last.baseline_tokens)
        self._save_if_due()
        return self._last

    def save(self) -> None:
        """Stores a checkpoint and waits for it. Raises TimeoutError if that takes too long."""
        if self._uploads is None:
            return
        for _ in range(2):  # a running upload may be of an older state
            self._begin_upload()
            if not self._uploads.wait(_SAVE_PATIENCE):
                raise TimeoutError(f"no checkpoint was stored in {_SAVE_PATIENCE:.0f} s")
            if self._uploads.stored_tokens == self.tokens:
                return
        raise TimeoutError(f"the checkpoint at {self.tokens:,} tokens was not stored")

    def _open_uploads(self, checkpoints: Checkpoints | None) -> Uploads | None:
        if checkpoints is None:
            return None
        if self._full_rate_until is not None:
            checkpoints.never_remove(self._full_rate_until)
        # Once the store is back, the next attempt comes within a checkpoint interval.
        pause = min(LONGEST_PAUSE, max(1.0, self._timing.seconds(cost=0.0)))
        return Uploads(checkpoints, clock=self._clock, longest_pause=pause)

    def _must_read(self, goal: int) -> bool:
        """Whether the steps on the device are read now: there are enough of them, they are the last
        before an evaluation, or a checkpoint is kept that must not be of a diverged training."""
        tokens = self._training.tokens
        enough = len(self._ahead) >= self._steps_ahead
        return enough or tokens >= goal or tokens == self._full_rate_until

    def _keep_if_last_at_full_rate(self) -> None:
        """Before the cool-down's first step, takes the checkpoint that more tokens go on from.

        Training goes on while it is stored; only an older one that is being stored is waited for.
        """
        if self._uploads is None or self.tokens != self._full_rate_until:
            return
        if self.tokens in (self.resumed_from, self._uploads.stored_tokens):
            return
        if self._begin_upload(keep=True):
            return
        self._uploads.wait(_SAVE_PATIENCE)
        if not self._begin_upload(keep=True):
            logger.warning(
                "no checkpoint was stored in %.0f s, so cell %s cannot be trained on more tokens "
                "later",
                _SAVE_PATIENCE,
                self.cell.key,
            )

    def leave(self) -> Unstored:
        """Ends it but for its last checkpoint, which is still being stored, and for its last
        observation, which waits for that. Only if it `only_stores`."""
        assert self._unstored is not None and self._unstored.is_copied
        unstored, self._unstored, self._uploads = self._unstored, None, None
        self._training.close()
        return unstored

    def close(self) -> None:
        """Ends the background uploads, a running one completes, and other processes."""
        if self._uploads is not None:
            self._uploads.close()
        self._training.close()

    def _read_ahead(self) -> bool:
        """Reads the steps that are still on the device; whether all of them were finite.

        Those after one that was not are of no interest.
        """
        results, self._ahead = self._ahead, []
        read_all(results)
        for result in results:
            loss = result.checked_loss
            self._steps.add({"train_loss": loss, **result.metrics})
            if not math.isfinite(loss):
                return False
            if result.skipped:
                logger.info(
                    "at %s tokens a step was skipped, as gradients overflowed in fp16 at a loss "
                    "scale of %g, which is halved",
                    f"{result.tokens:,}",
                    result.metrics["loss_scale"],
                )
        return True

    def _observe(self) -> Observation:
        trained, train_seconds = self._mark
        seconds = self._seconds_by_phase()["train"]
        # One step may pass several goals, if steps are longer than the interval.
        settings = self.cell.settings
        while self._evaluations < settings.evaluations and (
            self._data.goal(self._evaluations + 1) <= self._training.tokens
        ):
            self._evaluations += 1
        with self._phase("evaluate"):
            metrics, parts = self._evaluate()
        elapsed = seconds - train_seconds
        speed = (self._training.tokens - trained) / elapsed if elapsed > 0 else 0.0
        self._mark = (self._training.tokens, seconds)
        return Observation(
            cell=self.cell.key,
            tokens=self._training.tokens,
            baseline_tokens=self._data.baseline_tokens(self._training.tokens),
            metrics={
                **metrics,
                **self._steps.taken(),
                "tokens_per_second": speed,
                **({} if (peak := peak_memory(self._device)) is None else {"peak_memory": peak}),
            },
            seconds=self._seconds_by_phase(),
            sample_parts=parts,
        )

    def _evaluate(self) -> tuple[dict[str, float], tuple[float, ...]]:
        """The metrics of the sample, and at the end those of the full dev split; the sample's
        parts."""
        sample = score_sample(
            self._training.model,
            self._data.sample,
            self._samples.dev,
            precision=self._samples.precision,
        )
        metrics = {
            "bits_per_byte": sample.bits_per_byte,
            "perplexity": sample.perplexity,
            "baseline_token_perplexity": self._data.baseline_token_perplexity(sample.bits_per_byte),
        }
        if self._all_evaluated:
            full = evaluate(self._training.model, self._data.full)
            metrics |= {
                "full_bits_per_byte": full.bits_per_byte,
                "full_perplexity": full.perplexity,
            }
        metrics |= self._domains.observe(
            self._training.model, step=self._training.steps, last=self._all_evaluated
        )
        return metrics, sample.parts

    def _save_if_due(self) -> None:
        seconds = self._clock() - self._saved_at
        if self._save_now or seconds >= self._timing.seconds(self._save_cost):
            self._begin_upload()

    def _begin_upload(self, *, keep: bool = False) -> bool:
        """Starts to upload a copy of the state; False while another upload is running.

        keep: whether it is to be stored whatever comes after it.
        """
        if self._uploads is None:
            return False
        started = self._clock()
        taken = self._uploads.begin(
            self._state,
            tokens=self.tokens,
            bits_per_byte=None if self._last is None else self._last.bits_per_byte,
            last=self._all_evaluated,
            keep=keep,
        )
        if taken:
            self._saved_at = self._clock()
            self._save_cost = self._saved_at - started
            self._save_now = False
        return taken

    def _ended(self, at_most: float) -> Observation | None:
        """The last observation, once it may be reported."""
        assert self._unstored is not None
        if not self._unstored.may_be_reported(at_most):
            return None
        observation, self._unstored = self._unstored.observation, None
        return observation

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds: all that the trial depends on, and what defines its model."""
        self._read_ahead()
        return {
            "format": FORMAT,
            "cell": self.cell.values(),
            "tokenizer": self._data.tokenizer.values(),
            "corpus_sha256": self._data.corpus_sha256,
            "training": self._training.state_dict(),
            "domains": self._domains.state(),
            "baseline": self._baseline.values(),
            "evaluations": self._evaluations,
            "steps": self._steps.state(),
            "mark": self._mark,
            "seconds": self._seconds_by_phase(),
            "observation": None if self._last is None else self._last.to_values(),
        }

    def _resume(self, checkpoints: Checkpoints | None) -> None:
        if checkpoints is None:
            return
        restored = checkpoints.newest()
        self.damaged = restored.damaged
        if restored.state is None:
            return
        state: Mapping[str, Any] = restored.state
        # Learning rates are transferred from the baseline. Older checkpoints do not record it.
        baseline = state.get("baseline", self._baseline.values())
        if changed := differences(baseline, self._baseline.values()):
            raise ValueError(
                f"the checkpoint was trained with another baseline ({'; '.join(changed)}); "
                "resume with the original settings, or start over"
            )
        self._check_data(state)
        self._training.load_state_dict(state["training"])
        self._domains.restore(state.get("domains", {}))
        self._evaluations = state["evaluations"]
        self._steps = StepMetrics(state["steps"])
        self._mark = state["mark"]
        for phase, seconds in state["seconds"].items():
            self._seconds[phase] += seconds
        if state["observation"] is not None:
            self._last = Observation.from_values(state["observation"])
            self._unreported = True
        self.resumed_from, self._resumed_name = restored.tokens, restored.name
        logger.info("cell %s resumes from %d tokens", self.cell.key, restored.tokens)

    def _check_data(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if a state was trained on another text; older states do not say."""
        corpus = self._data.corpus_sha256
        if (trained := state.get("corpus_sha256", corpus)) != corpus:
            raise ValueError(
                f"the corpus {self.cell.settings.corpus} has changed since the checkpoint was "
                f"taken (its SHA-256 was {trained[:12]}…, now it is {corpus[:12]}…); put it back, "
                "or train anew with checkpoints in another folder"
            )
        tokenizer = self._data.tokenizer.values()
        if changed := differences(state.get("tokenizer", tokenizer), tokenizer):
            # The same text gives another file with another version of the tokenizers library.
            logger.warning("resumed with another tokenizer: %s", "; ".join(changed))

    def _seconds_by_phase(self) -> dict[str, float]:
        """Wall seconds by phase; compilation in the first step counts as `compile`."""
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
