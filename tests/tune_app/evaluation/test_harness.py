"""The public harness gets from a model what our own evaluations compute. `make harness` runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from data.tasks.packed import pack_documents
from data.tokenizers.byte_level_bpe import ByteLevelBpe
from model.evaluation.choices import Continuation, log_probabilities
from model.generation.decoding import continued
from model.generation.sampling import Sampling
from tests.tune_app.evaluation.test_exporting import run
from tests.tune_app.untrained import untrained
from tune_app import evaluate
from tune_app.evaluation import harness as harnesses
from tune_app.evaluation.choice import text_model
from tune_app.evaluation.exporting import write_export
from tune_app.evaluation.fields import schema
from tune_app.evaluation.language import score_text
from tune_app.portable.text_model import TextModel

pytest.importorskip("lm_eval", reason="lm-eval is an extra: make harness installs it")

CONTEXT = 32


@pytest.fixture(scope="module")
def model() -> TextModel:
    return text_model(untrained(context=CONTEXT, embedding="untied"))


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=place)
        for place, one in enumerate(arguments)
    ]


def harness(model: TextModel) -> Any:
    from tune_app.evaluation.harness_model import HarnessModel

    return HarnessModel(model)


def test_its_loglikelihoods_are_ours(model: TextModel) -> None:
    pairs = [("the film is", " a film"), ("people", " watch it in the evening"), ("", "the film")]
    found = harness(model).loglikelihood(asked("loglikelihood", *pairs))

    def tokens(text: str) -> list[int]:
        return model.tokenizer.encode(text, add_special_tokens=False).ids

    ours = log_probabilities(
        model.model,
        [Continuation(before=model.encoded(one), answer=tokens(two)) for one, two in pairs],
    )
    assert [value for value, _ in found] == pytest.approx(ours, abs=1e-4)
    greedy = [
        tokens(two)
        == list(
            continued(
                model.model,
                model.encoded(one),
                sampling=Sampling(temperature=0),
                most=len(tokens(two)),
            )
        )
        for one, two in pairs
    ]
    assert [one for _, one in found] == greedy
    best = next(iter(continued(model.model, [0], sampling=Sampling(temperature=0), most=1)))
    ((_, is_greedy),) = harness(model)._loglikelihood_tokens([(("", ""), [0], [best])])
    assert is_greedy


def test_long_texts_are_scored_token_by_token_once(model: TextModel) -> None:
    text = "the film is a film of the cinema, and people watch it again. " * 4
    ids = model.encoded(text)[1:]
    whole = len(ids) // CONTEXT * CONTEXT
    text = model.tokenizer.decode(ids[:whole])
    assert model.encoded(text)[1:] == ids[:whole]  # no window is shorter than the others
    (found,) = harness(model).loglikelihood_rolling(asked("loglikelihood_rolling", (text,)))
    packed = pack_documents(
        [text.encode()], model.tokenizer, end_of_text=0, cutting=ByteLevelBpe.cutting
    )
    ours = score_text(model.model, packed, end_of_text=0).metrics()
    assert -found == pytest.approx(ours["nats"], abs=1e-4)
    assert harness(model).loglikelihood_rolling(asked("loglikelihood_rolling", ("",))) == [0.0]
    # A continuation beyond the context is scored in such windows too, without its far context.
    ((long, _),) = harness(model).loglikelihood(asked("loglikelihood", ("", text)))
    assert long == pytest.approx(found, abs=1e-4)


def test_texts_continued_together_are_those_continued_alone(model: TextModel) -> None:
    prompts = ["the", "people watch it in the evening", "a film of the cinema " * 4, "again"]
    options = {"until": ["e"], "max_gen_toks": 40, "do_sample": False}
    found = harness(model).generate_until(
        asked("generate_until", *((prompt, options) for prompt in prompts), ("the", {"until": []}))
    )
    for prompt, answer in zip(prompts, found, strict=False):
        alone = model.generate(prompt, max_tokens=40, temperature=0)
        assert answer == alone.split("e")[0]
    assert found[4] == model.generate("the", max_tokens=256, temperature=0)


def test_a_task_over_a_local_file_is_run_and_written(
    model: TextModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lm_eval.tasks import TaskManager

    rows = [
        {"question": "the film is", "choices": ["a film", "the evening"], "answer": number % 2}
        for number in range(5)
    ]
    data = tmp_path / "films.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = (
        f"dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {data}}}\ntest_split: test\n"
    )
    (tmp_path / "films.yaml").write_text(
        f"task: films\n{common}output_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: choices\ndoc_to_target: answer\n'
    )
    (tmp_path / "pages.yaml").write_text(
        f"task: pages\n{common}output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{question}}"\n'
        "metric_list:\n- metric: word_perplexity\n- metric: bits_per_byte\n"
    )
    write_export(
        untrained(context=CONTEXT, embedding="untied"), tmp_path / "one", source={}, documents={}
    )
    given = [str(tmp_path / "one"), "--to", str(tmp_path / "to"), "--lm-eval-tasks", str(tmp_path)]
    assert run(evaluate, *given, "--lm-eval", "films,pages", "--limit", "4") == 0
    assert "lm-eval films, first 4: acc 0." in capsys.readouterr().out
    films, pages = json.loads((tmp_path / "to/evaluations.json").read_text())
    assert films["metrics"]["examples"] == 4

    before = model.encoded("the film is")
    answers = [model.tokenizer.encode(one).ids for one in (" a film", " the evening")]
    ours = log_probabilities(
        model.model, [Continuation(before=before, answer=one) for one in answers]
    )
    assert films["metrics"]["lm_eval/acc"] == 0.5  # one choice for all, and the labels alternate
    (nats,) = {
        -one
        for one in log_probabilities(
            model.model, [Continuation(before=[0], answer=model.encoded("the film is")[1:])]
        )
    }
    assert len(set(ours)) == 2
    size, words = len(b"the film is"), 3
    bits = pages["metrics"]["lm_eval/bits_per_byte"]
    assert bits == pytest.approx(nats / math.log(2) / size, abs=1e-4)
    assert pages["metrics"]["lm_eval/word_perplexity"] == pytest.approx(math.exp(nats / words))
    validator = pytest.importorskip("jsonschema").Draft202012Validator(
        schema()["properties"]["evaluations"]
    )
    assert list(validator.iter_errors([films, pages])) == []

    # The index of all its own tasks takes half a minute.
    monkeypatch.setattr(harnesses, "_manager", lambda options: TaskManager(include_defaults=False))
    assert run(evaluate, *given, "--lm-eval", "nothing_of_the_kind") == 2
    assert "has no task 'nothing_of_the_kind'" in capsys.readouterr().err.replace("\n", " ")
    monkeypatch.undo()
    (tmp_path / "films.jsonl").unlink()
    assert run(evaluate, *given, "--lm-eval", "films") == 2
    assert "lm-eval could not run films" in capsys.readouterr().err.replace("\n", " ")
    assert run(evaluate, str(tmp_path / "one"), "--limit", "3") == 2
    assert "are for --lm-eval" in capsys.readouterr().err
