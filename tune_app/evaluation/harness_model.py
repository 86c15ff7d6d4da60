"""A model as EleutherAI's lm-evaluation-harness asks for it. Imports that optional library.

The harness gives requests and takes answers in their order; here they are batched by length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from model.evaluation.choices import Continuation, fitted, log_probabilities_and_greedy
from model.generation.decoding import continued_together
from model.generation.sampling import Sampling
from model.network.cache import needs_whole_text
from tune_app.portable.text_model import TextModel

_GENERATED_TOGETHER = 16
"""Texts; bounds memory."""


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """Answers the requests of the harness with a model, in fp32.

    A text is a document, so end-of-text stands before it. A context that is too long loses tokens
    behind that from its front, as in our own tasks.
    """

    def __init__(self, model: TextModel) -> None:
        super().__init__()
        self._text = model
        self.batch_size = _GENERATED_TOGETHER

    @property
    def eot_token_id(self) -> int:
        """The token before each document, which also ends one."""
        return self._text.end_of_text

    @property
    def max_length(self) -> int:
        """Tokens of the context."""
        return self._text.config.context

    @property
    def max_gen_toks(self) -> int:
        """Tokens generated where a task names no number: the harness' own default."""
        return 256

    @property
    def tokenizer_name(self) -> str:
        """Of its tokenizer, for the harness' caches."""
        return f"stellux-{self._text.tokenizer_kind}-{self._text.config.vocab_size}"

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """The tokens of a text, without the one before a document."""
        return self._text.encoded(string)[1:]

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats of each, and whether it is the greedy one."""
        wanted = [self._continuations(context, answer) for _, context, answer in requests]
        return self._joined(wanted)

    def _continuations(self, context: list[int], answer: list[int]) -> list[Continuation]:
        """The parts of a request: one, unless its continuation outgrows the context."""
        end = self.eot_token_id
        before = context if context[:1] == [end] else [end, *context]
        if not answer:
            return []
        room = fitted(before, longest_answer=len(answer), context=self.max_length)
        if room is not None:
            return [Continuation(before=room, answer=answer)]
        return self._windows(answer, prefix=before[-1])

    def _windows(self, tokens: list[int], *, prefix: int) -> list[Continuation]:
        windows = get_rolling_token_windows(
            tokens, prefix_token=prefix, max_seq_len=self.max_length, context_len=1
        )
        return [
            Continuation(before=before, answer=answer)
            for before, answer in map(make_disjoint_window, windows)
        ]

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """log p of each whole text in nats, each token scored once, in windows of the context."""
        wanted = [
            self._windows(self.tok_encode(text), prefix=self.eot_token_id)
            for (text,) in (request.args for request in requests)
        ]
        return [value for value, _ in self._joined(wanted)]

    def _joined(self, wanted: Sequence[Sequence[Continuation]]) -> list[tuple[float, bool]]:
        """The sums over the parts of each request. An empty one has probability 1."""
        flat = [(place, part) for place, parts in enumerate(wanted) for part in parts]
        # Batches of similar lengths have little padding.
        order = sorted(
            range(len(flat)), key=lambda one: -len(flat[one][1].before) - len(flat[one][1].answer)
        )
        scored = log_probabilities_and_greedy(self._text.model, [flat[one][1] for one in order])
        totals = [(0.0, True)] * len(wanted)
        for one, (value, greedy) in sorted(zip(order, scored, strict=True)):
            total, all_greedy = totals[flat[one][0]]
            totals[flat[one][0]] = (total + value, all_greedy and greedy)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The continuation of each text, up to its stop sequences or end-of-text."""
        answers = [""] * len(requests)
        asked = []
        for place, request in enumerate(requests):
            context, options = request.args
            known = _options(options, most=self.max_gen_toks)
            asked.append((known, self._text.encoded(context), place))
        asked.sort(key=lambda one: (repr(one[0]), -len(one[1]), one[2]))
        for (most, until, sampling), same in groupby(asked, key=lambda one: one[0]):
            for chunk in _chunks(list(same), self._together):
                found = continued_together(
                    self._text.model,
                    [prompt for _, prompt, _ in chunk],
                    sampling=sampling,
                    most=most,
                    end=self.eot_token_id,
                    complete=self._holds(until),
                )
                for (_, _, place), tokens in zip(chunk, found, strict=True):
                    answers[place] = before_any(self._decoded(tokens), until)
        return answers

    @property
    def _together(self) -> int:
        # A model that needs the whole text reads it for each token, whatever the others are.
        return _GENERATED_TOGETHER if needs_whole_text(self._text.model) is None else 1

    def _holds(self, stops: tuple[str, ...]) -> Callable[[list[int]], bool]:
        return lambda tokens: any(stop in self._decoded(tokens) for stop in stops)

    def _decoded(self, tokens: list[int]) -> str:
        text: str = self._text.tokenizer.decode(tokens, skip_special_tokens=False)
        return text


def before_any(text: str, stops: Iterable[str]) -> str:
    """The text in front of the first of the stop sequences."""
    for stop in stops:
        text = text.split(stop, maxsplit=1)[0]
    return text


def _options(options: Mapping[str, Any], *, most: int) -> tuple[int, tuple[str, ...], Sampling]:
    """Tokens at most, stop sequences and sampling of a request."""
    known = normalize_gen_kwargs(dict(options), most)
    stops = handle_stop_sequences(known.get("until"), eos=None)
    temperature = float(known.get("temperature", 0.0)) if known.get("do_sample") else 0.0
    sampling = Sampling(temperature=temperature, top_p=float(known.get("top_p", 1.0)))
    return int(known["max_gen_toks"]), tuple(one for one in stops if one), sampling


def _chunks(values: list[Any], size: int) -> Iterable[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
