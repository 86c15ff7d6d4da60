"""Corpora of the Hugging Face hub, against a server on loopback, in processes of their own.

`datasets` reads HF_ENDPOINT and HF_HOME while it is imported, hence the processes.
"""

from __future__ import annotations

import json

import pytest

WIKITEXT_CARD = b"""---
configs:
- config_name: wikitext-2-raw-v1
  data_files:
  - split: train
    path: wikitext-2-raw-v1/train-*
  - split: validation
    path: wikitext-2-raw-v1/validation-*
  - split: test
    path: wikitext-2-raw-v1/test-*
---
"""


@pytest.fixture
def wikitext(hub, parquet):
    """WikiText-2 as it is published: a row is a line, and blank lines are empty rows."""

    def rows(articles: int) -> list[str]:
        body = [
            " The lobster is red . The lobster is blue . \n",
            "",
            " = = Size = = \n",
            " Big . \n",
        ]
        return [row for i in range(articles) for row in ["", f" = Lobster {i} = \n", "", *body]]

    hub.files["Salesforce/wikitext"] = {
        "README.md": WIKITEXT_CARD,
        **{
            f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet": parquet(rows(articles))
            for split, articles in {"train": 7, "validation": 3, "test": 2}.items()
        },
    }
    return hub


def documents(result) -> dict[str, int]:
    assert result.returncode == 0, result.stderr
    splits = json.loads(result.stdout)["splits"]
    return {name: split["documents"] for name, split in splits.items()}


def test_wikitext_rows_become_articles_and_are_fetched_once(wikitext, run_prepare) -> None:
    arguments = ("wikitext-2", "--vocab-size", "270", "--json")
    first = run_prepare(*arguments, HF_ENDPOINT=wikitext.endpoint)
    assert documents(first) == {"train": 7, "dev": 3, "test": 2}
    assert first.stderr == ""
    assert json.loads(first.stdout)["splitting"] == "as published"
    wikitext.requests.clear()
    assert run_prepare(*arguments, HF_ENDPOINT=wikitext.endpoint).stdout == first.stdout
    assert not [request for request in wikitext.requests if "parquet" in request]
    # With the data in the caches, the hub may be out of reach.
    offline = run_prepare(*arguments, HF_ENDPOINT=wikitext.endpoint, HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout


def test_tinystories_halves_its_validation_split(hub, run_prepare, story) -> None:
    lines = [json.dumps({"text": story(i)}) for i in range(60)]
    hub.files["roneneldan/TinyStories"] = {
        "train.jsonl": "\n".join(lines[:40]).encode(),
        "validation.jsonl": "\n".join(lines[40:]).encode(),
    }
    result = run_prepare("tinystories", "--vocab-size", "270", "--json", HF_ENDPOINT=hub.endpoint)
    found = documents(result)
    assert found["train"] == 40
    assert found["dev"] + found["test"] == 20
    assert min(found.values()) > 3
    assert "its dev split halved into dev and test" in json.loads(result.stdout)["splitting"]


def test_one_published_split_is_split_by_hash(hub, run_prepare, parquet, story) -> None:
    hub.files["someone/prose"] = {"train.parquet": parquet([story(i) for i in range(120)], "body")}
    ask = ("--vocab-size", "270", "--json")
    result = run_prepare("hf:someone/prose::body", *ask, HF_ENDPOINT=hub.endpoint)
    found = documents(result)
    assert sum(found.values()) == 120
    assert found["train"] > 90
    assert "90/5/5 by a hash" in json.loads(result.stdout)["splitting"]
    wrong = run_prepare("hf:someone/prose", *ask, HF_ENDPOINT=hub.endpoint)
    assert wrong.returncode == 2
    assert "no column 'text' (columns 'body')" in wrong.stderr
    assert "hf:owner/name:configuration:field" in wrong.stderr


def test_an_unknown_dataset(hub, run_prepare) -> None:
    result = run_prepare("hf:nobody/nothing", HF_ENDPOINT=hub.endpoint)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no dataset nobody/nothing" in result.stderr


def test_an_unknown_configuration(wikitext, run_prepare) -> None:
    result = run_prepare("wikitext-103", HF_ENDPOINT=wikitext.endpoint)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "wikitext-103-raw-v1" in result.stderr
    assert "wikitext-2-raw-v1" in result.stderr


def test_no_network(run_prepare) -> None:
    result = run_prepare("tinystories", HF_HUB_OFFLINE="1")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "cannot be reached" in result.stderr
    assert "use stdlib or a local file" in result.stderr
