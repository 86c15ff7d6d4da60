"""A cell's training and dev data, and how its tokens convert to baseline tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from data.batches import EvaluationDocuments, ShuffledWindows, TrainingBatches
from data.curriculum import Curriculum
from data.mixture import annealed
from data.prepared import PackedSplit, PreparedCorpus
from data.scheduled_batches import ScheduledBatches
from data.sources.mixed import domain_labels
from data.stretches import choose
from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.cell import Cell, refuse_former_sample
from tune_app.plan.more_tokens import can_be_extended, full_rate_until
from tune_app.trial.tokenizer_files import TokenizerIdentity

EVALUATION_BATCH = 16
"""Sequences scored at once, on a GPU at least; bounds memory and changes no more than the last bits
of a score."""
TOKENS_AT_ONCE = 8_192
"""Tokens that a GPU scores at once. By calculation fewer can take longer to start than to score; of
more, what a layer makes no longer stays in the L2 cache (docs/gpu.md, "Evaluation")."""


def sequences_at_once(device: str, *, context: int) -> int:
    """How many sequences a device scores at once."""
    if not device.startswith("cuda"):
        return EVALUATION_BATCH
    return max(EVALUATION_BATCH, TOKENS_AT_ONCE // context)


@dataclass(frozen=True, kw_only=True)
class DomainData:
    """The dev text of one corpus of a mixed one."""

    label: str
    sample: EvaluationDocuments
    """Stretches scored at every evaluation."""
    full: EvaluationDocuments
    """All documents, scored at the end."""


def check_fits(cell: Cell, corpus: PreparedCorpus) -> None:
    """Raises CorpusError if a split is too short for the context of a cell."""
    numbers = range(corpus.domains) if cell.settings.mixture else ()
    for split in (corpus.split("train"), *(corpus.domain(number, "train") for number in numbers)):
        ShuffledWindows(split, context=cell.model.context, seed=0)
    numbers = range(corpus.domains) if corpus.domains > 1 else ()
    for split in (corpus.split("dev"), *(corpus.domain(number, "dev") for number in numbers)):
        EvaluationDocuments(
            split, context=cell.model.context, batch_size=1, end_of_text=corpus.end_of_text
        )


class TrialData:
    """The batches and the dev documents of a cell.

    Args:
        cell: the cell to train.
        corpora: returns the corpus as packed by a tokenizer.
        device: that scores the dev documents: `cpu`, `cuda`, …

    Raises ValueError if the corpus is unusable or too small for the context.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        corpora: Callable[[TokenizerSpec], PreparedCorpus],
        device: str = "cpu",
    ) -> None:
        self._settings = cell.settings
        corpus = corpora(cell.tokenizer)
        self.tokenizer = TokenizerIdentity.of(corpus.manifest)
        """Of the tokenizer that encoded the text."""
        self.corpus_sha256 = corpus.manifest.corpus_sha256
        baseline = corpora(cell.baseline_tokenizer)
        refuse_former_sample(cell.settings.sample)
        context, sample_bytes = cell.model.context, cell.settings.evaluation_bytes
        masking = cell.model.document_masking
        self._at_once = sequences_at_once(device, context=context)
        self._own_per_baseline = baseline.bytes_per_token("train") / corpus.bytes_per_token("train")
        self.batches = self._batches(cell, corpus)
        self.sample = sample_of(
            corpus,
            context=context,
            max_bytes=sample_bytes,
            document_masking=masking,
            batch_size=self._at_once,
        )
        """Stretches of dev scored at every evaluation."""
        self.full = self._documents(cell, corpus, corpus.split("dev"))
        """All dev documents, scored at the end."""
        self.domains = self._domains(cell, corpus)
        """The corpora of a mixed one; none of a plain one."""
        baseline_sample = sample_of(baseline, context=cell.baseline.context, max_bytes=sample_bytes)
        # Measured on the dev sample, so that it is the same for all cells of a sweep.
        self._baseline_bytes_per_token = baseline_sample.text_bytes / baseline_sample.tokens

    @property
    def sequences(self) -> Callable[[int], int] | None:
        """How many sequences a step has; None if all have as many."""
        return self.batches.sequences if isinstance(self.batches, ScheduledBatches) else None

    def _batches(self, cell: Cell, corpus: PreparedCorpus) -> TrainingBatches | ScheduledBatches:
        settings, context = cell.settings, cell.model.context
        end_of_text = corpus.end_of_text if cell.model.document_masking else None
        if settings.mixture is None and not settings.stages:
            return TrainingBatches(
                corpus.split("train"),
                context=context,
                batch_size=settings.batch_size,
                seed=cell.seed,
                end_of_text=end_of_text,
            )
        curriculum = Curriculum(
            settings.stages,
            context=context,
            batch_size=settings.batch_size,
            tokens=self.tokens,
            scale=self._own_per_baseline,
        )
        mixture, splits = None, [corpus.split("train")]
        if settings.mixture is not None:
            mixture = annealed(
                settings.mixture,
                settings.mixture_end,
                fraction=settings.mixture_anneal,
                curriculum=curriculum,
                tokens=self.tokens,
            )
            splits = [corpus.domain(number, "train") for number in range(corpus.domains)]
        return ScheduledBatches(
            splits,
            curriculum=curriculum,
            mixture=mixture,
            seed=cell.seed,
            end_of_text=end_of_text,
        )

    def _domains(self, cell: Cell, corpus: PreparedCorpus) -> tuple[DomainData, ...]:
        if corpus.domains == 1:
            return ()
        # Together they cost as much as the sample of all.
        most = max(1, cell.settings.evaluation_bytes // corpus.domains)
        return tuple(
            DomainData(
                label=label,
                sample=self._documents(cell, corpus, corpus.domain_stretches(number), most=most),
                full=self._documents(cell, corpus, corpus.domain(number, "dev")),
            )
            for number, label in enumerate(domain_labels(cell.settings.corpus))
        )

    def _documents(
        self, cell: Cell, corpus: PreparedCorpus, split: PackedSplit, *, most: int | None = None
    ) -> EvaluationDocuments:
        """Documents of dev to score: all, or the first of so many bytes."""
        return EvaluationDocuments(
            split,
            context=cell.model.context,
            batch_size=self._at_once,
            end_of_text=corpus.end_of_text,
            first=None if most is None else choose(split.document_bytes, most).stretches,
            document_masking=cell.model.document_masking,
        )

    @property
    def tokens(self) -> int:
        """Tokens to train on, of the cell's own tokenizer."""
        return math.ceil(self._settings.tokens * self._own_per_baseline)

    def full_rate_until(self, cell: Cell) -> int | None:
        """Own tokens before the cool-down, if the cell can be trained on more tokens from there."""
        if not can_be_extended(cell):
            return None
        config = cell.training_config(tokens=self.tokens, warmup_tokens=self.warmup_tokens)
        return full_rate_until(config, context=cell.model.context)

    @property
    def warmup_tokens(self) -> float:
        """Tokens of the warm-up, of the cell's own tokenizer: the same whatever the length."""
        return self._settings.warmup_tokens * self._own_per_baseline

    def goal(self, evaluation: int) -> int:
        """Own tokens at which an evaluation is due: evenly spaced in text, not in tokens."""
        baseline_tokens = self._settings.tokens * evaluation / self._settings.evaluations
        return min(math.ceil(baseline_tokens * self._own_per_baseline), self.tokens)

    def baseline_tokens(self, tokens: int) -> int:
        """Own tokens as the same amount of text in the baseline's tokens."""
        return round(tokens / self._own_per_baseline)

    def baseline_token_perplexity(self, bits_per_byte: float) -> float:
        """exp(bits per byte · ln 2 · bytes per token of the baseline's tokenizer)."""
        nats = bits_per_byte * math.log(2) * self._baseline_bytes_per_token
        return math.exp(nats) if nats < 700 else math.inf


def sample_of(
    corpus: PreparedCorpus,
    *,
    context: int,
    max_bytes: int,
    document_masking: bool = False,
    batch_size: int = EVALUATION_BATCH,
) -> EvaluationDocuments:
    """The dev sample of so many bytes: the same text for every tokenizer."""
    stretches = corpus.stretches()
    return EvaluationDocuments(
        stretches,
        context=context,
        batch_size=batch_size,
        end_of_text=corpus.end_of_text,
        first=choose(stretches.document_bytes, max_bytes).stretches,
        document_masking=document_masking,
    )
