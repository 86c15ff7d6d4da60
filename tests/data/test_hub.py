"""Corpora of the Hugging Face hub, against a server on loopback, in processes of their own.

`datasets` reads HF_ENDPOINT and HF_HOME while it is imported, hence the processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import first_line
from data.prepared import PreparedCorpus
from tune_app.cluster.corpus_share import fetch, share
from tune_app.stores.path import PathStore

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


TOKEN = "hf_TheSecretOfThisTest"

GATED = """
import logging, os, sys
from data.errors import CorpusError
from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec

logging.basicConfig(level=logging.DEBUG)
for name, token in (
    ("nobody/nothing", ""),
    ("meta/gated", ""),
    ("meta/gated", "hf_AnotherSecretOfThisTest"),
    ("meta/gated", sys.argv[1]),
):
    os.environ["HF_TOKEN"] = token
    try:
        corpus = prepare(f"hf:{name}", TokenizerSpec(vocab_size=270))
    except CorpusError as error:
        print(error)
print(corpus.folder)
"""


def test_a_gated_set_is_read_with_a_token_that_is_written_nowhere(
    hub, tmp_path, parquet, story
) -> None:
    hub.files["meta/gated"] = {"train.parquet": parquet([story(i) for i in range(120)])}
    hub.gated["meta/gated"] = TOKEN
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HF_TOKEN"},
        **{"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hub"), "HOME": str(tmp_path)},
        **{"STELLUX_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])},
    }
    done = subprocess.run(
        [sys.executable, "-c", GATED, TOKEN],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unknown, without, refused, folder = done.stdout.splitlines()
    assert "no dataset nobody/nothing" in unknown
    assert "no dataset meta/gated that may be read without a login" in without
    assert "accept the conditions of a gated set on its page and set HF_TOKEN" in without
    assert "that may be read with the HF_TOKEN that is set" in refused

    # Workers get the tokens of its text from the store: they ask no hub and need no login.
    hub.requests.clear()
    (tmp_path / "store").mkdir()
    store = PathStore(tmp_path / "store")
    shared = share(PreparedCorpus.open(Path(folder)), store)
    fetched = fetch(shared, store, tmp_path / "worker")
    assert fetched.manifest.corpus == "hf:meta/gated"
    assert not hub.requests

    assert "SecretOfThisTest" not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if b"SecretOfThisTest" in path.read_bytes()]


def test_a_token_that_an_error_quotes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = ValueError(f"Illegal header value b'Bearer {TOKEN} '")
    assert first_line(error) == "Illegal header value b'Bearer $HF_TOKEN '"
