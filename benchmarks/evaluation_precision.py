"""What a score loses, in bits per byte, if products are in bf16 or TF32 rather than in fp32.

Models are trained for real, in fp32 on a CPU, and each is then scored on one dev sample in every
precision. A GPU's products are emulated:

- bf16: under torch's autocast, with products of the rounded factors summed in fp32 and rounded.
- TF32: factors rounded to the nearest of 10 bits of mantissa, summed in fp32. Also with factors cut
  off to 10 bits, as a tensor core does with what nobody rounded before.

python -m benchmarks.evaluation_precision --json-to errors.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch
from cyclopts import App
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from data.prepare import prepare
from model.evaluation import bits_per_byte
from model.network.transformer import Transformer
from search_spaces import embedding_glu, quick
from tests.gpu.device_ops import body_of
from tune_app.plan.cell import Cell
from tune_app.trial.data import sample_of
from tune_app.trial.sample import score_sample
from tune_app.trial.trial import Trial

SAMPLE_BYTES = 262_144
"""The default."""
SMALL: Mapping[str, Any] = {**quick.FIXED, "embedding_ratio": 0.35, "glu_expansion": 2.66}
WIDE: Mapping[str, Any] = {**quick.FIXED, "d_model": 80, "n_layers": 8, "glu_expansion": None}
LARGE: Mapping[str, Any] = {**embedding_glu.FIXED, "tokens": 250_000, "batch_size": 8}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "baseline": SMALL,
    "another seed": {**SMALL, "seed": 1},
    "embedding 25 %": {**SMALL, "embedding_ratio": 0.25},
    "embedding 45 %": {**SMALL, "embedding_ratio": 0.45},
    "expansion 4": {**SMALL, "glu_expansion": 4.0},
    "twice the rate": {**SMALL, "learning_rate_factor": 2.0},
    "squared ReLU": {**WIDE, "feed_forward": "relu_squared"},
    "PolyGLU": {**WIDE, "feed_forward": "polyglu"},
    "8 experts": {**WIDE, "feed_forward": "moe", "n_experts": 8, "top_k": 2, "shared_experts": 0},
    "QK norm": {**WIDE, "attention": "qk_norm"},
    "untied": {**SMALL, "embedding": "untied", "embedding_ratio": 0.45},
    "10M": LARGE,
    "10M, embedding 25 %": {**LARGE, "embedding_ratio": 0.25},
}
PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm", "linear", "matmul"})
ADDED_FIRST = frozenset({"addmm", "baddbmm"})
"""Their first argument is added, not multiplied."""
_LACKS = 13
"""Bits of fp32's mantissa that TF32 lacks."""

Round = Callable[[Tensor], Tensor]

app = App(name="python -m benchmarks.evaluation_precision", help=__doc__, version_flags=[])


def to_tf32(values: Tensor) -> Tensor:
    """The nearest numbers with 10 bits of mantissa; of two that are as near, the even one."""
    bits = values.contiguous().view(torch.int32)
    odd = (bits >> _LACKS) & 1
    return ((bits + ((1 << (_LACKS - 1)) - 1) + odd) & -(1 << _LACKS)).view(torch.float32)


def cut_to_tf32(values: Tensor) -> Tensor:
    """The numbers without the bits that TF32 lacks."""
    return (values.contiguous().view(torch.int32) & -(1 << _LACKS)).view(torch.float32)


class RoundedProducts(TorchDispatchMode):
    """Factors in fp32 are rounded; products of bf16 are computed in fp32 and then rounded."""

    def __init__(self, rounded: Round | None = None) -> None:
        super().__init__()
        self._rounded = rounded
        self.products = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs an operation, with other factors if it multiplies matrices."""
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        if func.namespace == "stellux":
            with self:
                return body_of(func)(*args, **kwargs)
        if name not in PRODUCTS:
            return func(*args, **kwargs)
        self.products += 1
        given, added = list(args), int(name in ADDED_FIRST)
        low = given[added].dtype == torch.bfloat16
        for place in range(len(args)) if low else (added, added + 1):
            if isinstance(given[place], Tensor):
                given[place] = given[place].float() if low else self._factor(given[place])
        if not low:
            return func(*given, **kwargs)
        out = kwargs.pop("out", None)
        found = func._overloadpacket(*given, **kwargs).bfloat16()
        return found if out is None else out.copy_(found)

    def _factor(self, values: Tensor) -> Tensor:
        return values if self._rounded is None else self._rounded(values)


@contextmanager
def _scoring_in_bf16(model: Transformer) -> Iterator[None]:
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        yield


@contextmanager
def in_bf16() -> Iterator[None]:
    """Evaluation runs under autocast to bf16, with products as on a GPU."""
    with patch.object(bits_per_byte, "scoring", _scoring_in_bf16), RoundedProducts():
        yield


PRECISIONS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "bf16": in_bf16,
    "TF32": lambda: RoundedProducts(to_tf32),
    "TF32, cut off": lambda: RoundedProducts(cut_to_tf32),
}


@app.default
def main(*, names: list[str] | None = None, threads: int = 1, json_to: Path | None = None) -> None:
    """Train the models, score them, and print the errors.

    Parameters
    ----------
    names
        Models to train; all by default.
    threads
        CPU threads.
    json_to
        A file for the scores; those that are there already are kept, and their models not trained.
    """
    torch.set_num_threads(threads)
    found: dict[str, dict[str, float]] = {}
    if json_to is not None and json_to.exists():
        found = json.loads(json_to.read_text("utf-8"))
    for name in names or MODELS:
        if name not in found:
            found[name] = _scores(MODELS[name])
            if json_to is not None:
                json_to.write_text(json.dumps(found, indent=1), "utf-8")
        print(name, found[name], flush=True)
    print("\n".join(_table(found)))


def _scores(values: Mapping[str, Any]) -> dict[str, float]:
    cell = Cell.from_values({**values, "precision": "fp32", "compile": "off"})
    corpus = prepare("stdlib", cell.tokenizer)
    trial = Trial(cell, corpora=lambda tokenizer: prepare("stdlib", tokenizer))
    training = trial._training
    while not training.finished:
        training.step()
    sample = sample_of(corpus, context=cell.model.context, max_bytes=SAMPLE_BYTES)
    return _scored(training.model, lambda model: score_sample(model, sample).bits_per_byte)


def _scored(model: Transformer, score: Callable[[Transformer], float]) -> dict[str, float]:
    found = {"fp32": score(model)}
    for name, precision in PRECISIONS.items():
        with precision():
            found[name] = score(model)
    return found


def _table(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield "| model | fp32, bits per byte | " + " | ".join(PRECISIONS) + " |"
    yield "|---|---|" + "---|" * len(PRECISIONS)
    for name, scores in found.items():
        errors = (f"{scores[one] - scores['fp32']:+.1e}" for one in PRECISIONS)
        yield f"| {name} | {scores['fp32']:.4f} | " + " | ".join(errors) + " |"
    errors_PM = [[scores[one] - scores["fp32"] for scores in found.values()] for one in PRECISIONS]
    between_P = [[a - b for a, b in combinations(errors_M, 2)] for errors_M in errors_PM]
    for what, sets in (("of a score", errors_PM), ("of a difference", between_P)):
        for told, of in (("mean", fmean), ("largest", max)):
            sizes = (f"{of([abs(one) for one in errors or [0.0]]):.1e}" for errors in sets)
            yield f"| error {what}, {told} | | " + " | ".join(sizes) + " |"


if __name__ == "__main__":
    app()
