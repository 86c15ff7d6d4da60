"""The fields of metrics.json: what each means, its unit, and the JSON schema made from them.

A field is added here and computed in `cell_metrics.py`. One that is renamed or changes its meaning
raises VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 1
SCHEMA_NAME = "stellux-metrics"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One number or text; null where it is unknown."""

    type: str
    """`integer`, `number` or `string`."""
    unit: str
    """Empty for a text."""
    meaning: str


def _whole(unit: str, meaning: str) -> Field:
    return Field(type="integer", unit=unit, meaning=meaning)


def _number(unit: str, meaning: str) -> Field:
    return Field(type="number", unit=unit, meaning=meaning)


def _text(meaning: str) -> Field:
    return Field(type="string", unit="", meaning=meaning)


_BPB = "bits/byte"
_PPL = "perplexity per token of its own tokenizer"

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "model": {
        "parameters": _whole("parameters", "trainable parameters in total"),
        "embedding_share": _number("fraction", "embedding and lm_head over all parameters"),
        "vocab_size": _whole("tokens", "vocabulary, special tokens included"),
        "context": _whole("tokens", "longest sequence"),
        "d_model": _whole("entries", "width"),
        "n_layers": _whole("layers", "depth"),
        "n_heads": _whole("heads", "attention heads"),
        "head_dim": _whole("entries", "width of a head"),
        "d_ff": _whole("entries", "inner width of the feed-forward"),
        "expansion": _number("ratio", "d_ff / d_model"),
        "embedding": _text("kind of the embedding"),
        "attention": _text("kind of the attention"),
        "feed_forward": _text("kind of the feed-forward"),
        "norm": _text("kind of the norms"),
    },
    "data": {
        "corpus": _text("name or path of the corpus"),
        "corpus_sha256": _text("SHA-256 of what decides the corpus' documents"),
        "tokenizer": _text("kind of the tokenizer"),
        "bytes_per_token": _number("bytes/token", "of dev text, in its own tokens"),
        "test_bytes": _whole("bytes", "UTF-8 bytes of the test split; 0 if there is none"),
    },
    "training": {
        "tokens": _whole("tokens", "trained, of its own tokenizer"),
        "baseline_tokens": _whole("tokens", "the same text in the baseline's tokens"),
        "budget_tokens": _whole("tokens", "that a cell of the sweep trains, in baseline tokens"),
        "seed": _whole("", "of weights and of the order of the text"),
        "batch_size": _whole("sequences", "in a step"),
        "learning_rate": _number("", "peak, of the reference model"),
        "learning_rate_factor": _number("ratio", "factor of this cell's rates"),
        "weight_decay": _number("", "of the reference model's matrices"),
        "warmup_fraction": _number("fraction", "of the tokens, with a rising rate"),
        "schedule": _text("of the learning rate"),
        "precision": _text("of the products in training"),
        "parametrization": _text("rule that carries the learning rate to other sizes"),
        "final_train_loss": _number("nats/token", "since the evaluation before the last"),
    },
    "quality": {
        "dev_bits_per_byte": _number(_BPB, "on the full dev split; ranks the cells"),
        "dev_perplexity": _number(_PPL, "on the full dev split"),
        "gap_to_baseline": _number(_BPB, "above the baseline on its seed; negative: better"),
        "sigma": _number(_BPB, "standard deviation of a score over seeds"),
        "sigma_runs": _whole("runs", "that sigma is from"),
        "dev_bits_per_byte_low": _number(_BPB, "lower end of the interval over seeds"),
        "dev_bits_per_byte_high": _number(_BPB, "upper end of the interval over seeds"),
        "rank": _whole("", "of its design among those that finished; 1 is the best"),
        "ranked_designs": _whole("designs", "that finished"),
        "test_bits_per_byte": _number(_BPB, "on the test split, scored once; ranks nothing"),
        "test_perplexity": _number(_PPL, "on the test split"),
    },
    "speed": {
        "training_tokens_per_second": _number("tokens/s", "over all of training"),
        "training_device_hosts": _text("the nodes that trained it"),
    },
    "memory": {
        "weights_bytes": _whole("bytes", "of the weights in fp32"),
        "cache_bytes_per_token": _whole("bytes", "of keys and values in fp32, if cached"),
    },
    "cost": {
        "training_flops": _number("FLOPs", "of the trained tokens, forward and backward"),
        "seconds_train": _number("seconds", "wall time of training"),
        "seconds_total": _number("seconds", "wall time of all phases"),
        "attempts": _whole("attempts", "starts of the cell"),
        "resumes": _whole("attempts", "that continued from a checkpoint"),
    },
    "provenance": {
        "sweep": _text("name of the sweep"),
        "space": _text("search space of the sweep"),
        "cell": _text("key of the cell"),
        "label": _text("name of the cell in its sweep"),
        "status": _text("status of the cell"),
        "checkpoint": _text("its newest checkpoint"),
        "ended_at": _text("when it ended, UTC"),
        "stellux": _text("version or commit of Stellux that started the sweep"),
        "torch": _text("version of PyTorch"),
        "python": _text("version of Python"),
        "verdict": _text("what the sweep says about its leader"),
        "command": _text("that continues the sweep"),
    },
}
"""By group and name."""

FINETUNING = "finetuning"
FINETUNING_FIELDS: Mapping[str, Field] = {
    "export": _text("that was fine-tuned"),
    "data": _text("file of the conversations"),
    "data_sha256": _text("SHA-256 of it"),
    "conversations": _whole("conversations", "learned"),
    "sequences": _whole("sequences", "that they are packed into"),
    "scored_tokens": _whole("tokens", "of the assistant, which alone are learned"),
    "cut": _whole("conversations", "cut off at the end, as they are longer than the context"),
    "skipped": _whole("conversations", "left out, as the context ends before an answer"),
    "dev": _text("file of the conversations that were scored; unknown: those that were learned"),
    "dev_conversations": _whole("conversations", "that were scored"),
    "steps": _whole("steps", "trained"),
    "tokens": _whole("tokens", "positions of all sequences trained on, padding included"),
    "epochs": _number("epochs", "asked for"),
    "batch_size": _whole("sequences", "in a step"),
    "learning_rate": _number("", "peak, of the reference model"),
    "schedule": _text("of the learning rate"),
    "optimizer": _text("that trained it"),
    "optimizer_state": _text("where the optimiser began"),
    "seed": _whole("", "of the order of the conversations"),
    "answer_loss": _number("nats/token", "of the assistant, in the scored conversations"),
    "bits_per_byte": _number(_BPB, "of the assistant's text in the scored conversations"),
}
"""Of a fine-tuned model, whose other groups say what is known of the model itself."""

EVALUATION_FIELDS: Mapping[str, Field] = {
    "bits_per_byte": _number(_BPB, "of all text, in windows that do not overlap"),
    "bits_per_byte_error": _number(_BPB, "standard error over documents"),
    "perplexity": _number(_PPL, "of the same"),
    "nats": _number("nats", "of all scored tokens together"),
    "tokens": _whole("tokens", "scored"),
    "text_bytes": _whole("bytes", "UTF-8 bytes of the scored text"),
    "documents": _whole("documents", "scored"),
    "mean_context": _number("tokens", "in front of a scored token, in its window"),
    "sliding_bits_per_byte": _number(_BPB, "in windows that overlap"),
    "sliding_perplexity": _number(_PPL, "in windows that overlap"),
    "sliding_mean_context": _number("tokens", "in front of a scored token, in its window"),
    "sliding_stride": _whole("tokens", "from one overlapping window to the next"),
    "accuracy": _number("fraction", "of the answer with the most log-probability per byte"),
    "accuracy_error": _number("fraction", "standard error over examples"),
    "accuracy_unnormalised": _number("fraction", "of the answer with the most log-probability"),
    "majority": _number("fraction", "accuracy of always giving the commonest label"),
    "chance": _number("fraction", "accuracy of guessing"),
    "examples": _whole("examples", "scored"),
    "shortened": _whole("examples", "that lost text at the front, to fit into the context"),
    "skipped": _whole("examples", "not scored: an answer alone does not fit"),
    "contaminated": _whole("examples", "that overlap with the training text"),
    "clean_bits_per_byte": _number(_BPB, "without the contaminated documents"),
    "clean_accuracy": _number("fraction", "without the contaminated examples"),
    "clean_accuracy_error": _number("fraction", "standard error over examples"),
    "ngram_words": _whole("words", "of the overlaps that count as contamination"),
    "seconds": _number("seconds", "wall time of this evaluation"),
    "prefill_seconds": _number("seconds", "median, to read a prompt"),
    "prefill_seconds_p95": _number("seconds", "95th percentile, to read a prompt"),
    "prefill_seconds_p99": _number("seconds", "99th percentile, to read a prompt"),
    "decode_seconds": _number("seconds", "median, of the next token behind the prompt"),
    "decode_seconds_p95": _number("seconds", "95th percentile, of the next token"),
    "decode_seconds_p99": _number("seconds", "99th percentile, of the next token"),
    "tokens_per_second": _number("tokens/s", "scored in batches, in the median run"),
    "peak_memory_bytes": _whole("bytes", "at most, to score such a batch, with the weights"),
    "batch_size": _whole("sequences", "scored together, each as long as the context"),
    "runs": _whole("runs", "timed, after some that were not"),
    "threads": _whole("threads", "CPU threads"),
}
"""Of an evaluation, by name; each has those that it measures."""

HARNESS = "lm_eval/"
"""Before the names that lm-evaluation-harness gives its own metrics."""


def schema() -> dict[str, Any]:
    """The JSON schema of metrics.json (draft 2020-12), with the units in `unit`."""
    described = _described()
    # Only a fine-tuned model has it.
    described["properties"][FINETUNING] = _object(
        {name: _of(field) for name, field in FINETUNING_FIELDS.items()}
    )
    return described


def _described() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA_NAME,
        "description": "A cell in numbers. A value is null where it is unknown.",
        **_object(
            {
                "schema": {"const": SCHEMA_NAME},
                "version": {"const": VERSION},
                **{
                    group: _object({name: _of(field) for name, field in members.items()})
                    for group, members in FIELDS.items()
                },
                "evaluations": {
                    "type": "array",
                    "items": _object(
                        {
                            "suite": {"type": "string", "description": "what was evaluated"},
                            "split": {"type": "string", "description": "of which text"},
                            "notes": {
                                "type": "object",
                                "description": "rules and sources in words",
                                "additionalProperties": {"type": "string"},
                            },
                            "metrics": {
                                "type": "object",
                                "properties": {
                                    name: _of(field) for name, field in EVALUATION_FIELDS.items()
                                },
                                "patternProperties": {
                                    f"^{HARNESS}": {
                                        "type": ["number", "null"],
                                        "description": "as lm-evaluation-harness defines it",
                                    }
                                },
                                "additionalProperties": False,
                            },
                        }
                    ),
                },
            }
        ),
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _of(field: Field) -> dict[str, Any]:
    unit = {"unit": field.unit} if field.unit else {}
    return {"type": [field.type, "null"], "description": field.meaning, **unit}
