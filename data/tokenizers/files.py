"""Files of tokenizers: where they are, and what they say about their size.

Light: does not import the tokenizers.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.errors import TOKEN_VARIABLE, CorpusError, first_line, reading_explained

HUB_PREFIX = "hf:"

NAME = "tokenizer.json"
"""What the Hugging Face libraries call the file, in a folder or on the hub."""

LARGEST_FILE = 512 << 20
"""Bytes. Those of published tokenizers have up to about 35 MB."""


def local_file(file: str) -> Path:
    """The path of a tokenizer's file.

    file: a path, a folder with a `tokenizer.json` in it, or `hf:owner/name` or
        `hf:owner/name@revision`, which is downloaded once.

    Raises CorpusError if the hub does not give it.
    """
    if file.startswith(HUB_PREFIX):
        return _from_hub(file)
    path = Path(file).expanduser()
    return path / NAME if path.is_dir() else path


def content_of(file: str) -> bytes:
    """The content of a tokenizer's file. Raises CorpusError if it cannot be read, or is no file of
    a size that a tokenizer may have."""
    path = local_file(file)
    with reading_explained(str(path)):
        size = path.stat().st_size
        if path.is_file() and size > LARGEST_FILE:
            raise CorpusError(
                f"{path} has {size:,} bytes, too many for a {NAME} (at most {LARGEST_FILE:,}); "
                "check the path"
            )
        return path.read_bytes()


def size_in(file: str) -> int:
    """How many tokens a tokenizer's file has: one more than the largest id.

    Raises CorpusError if it cannot be read or is no tokenizer.json.
    """
    content = content_of(file)
    try:
        return _size(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise not_a_tokenizer(file, error) from error


@lru_cache(maxsize=1)  # each cell of a sweep asks, and a large file takes 0.3 s to parse
def _size(content: bytes) -> int:
    saved = json.loads(content)
    vocabulary = saved["model"]["vocab"]
    # Unigram models list their tokens; all others map them to ids.
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = [token["id"] for token in saved.get("added_tokens") or ()]
    return 1 + max(map(_checked, [*ids, *added]))


def not_a_tokenizer(file: str, error: BaseException) -> CorpusError:
    """The error for a file that is something else."""
    told = f"no {error}" if isinstance(error, KeyError) else first_line(error)
    return CorpusError(
        f"{file} is not a {NAME} ({told}); give one that the library tokenizers wrote"
    )


def _checked(token: Any) -> int:
    if isinstance(token, bool) or not isinstance(token, int) or token < 0:
        raise ValueError(f"a token has the id {token!r}")
    return token


def _from_hub(file: str) -> Path:
    repository, _, revision = file.removeprefix(HUB_PREFIX).partition("@")
    # Imported here: it reads HF_HOME and HF_ENDPOINT while it is imported.
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # It retries for half a minute and logs each attempt; the one error below is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(hf_hub_download(repository, NAME, revision=revision or None))
    except HFValidationError as error:
        raise CorpusError(
            f"{file!r} does not name a tokenizer on the hub; write hf:owner/name or "
            "hf:owner/name@revision"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CorpusError(
            f"the hub has no {file.removeprefix(HUB_PREFIX)} that may be read without a login; "
            f"check the name, set {TOKEN_VARIABLE} (or log in with `hf auth login`), or give the "
            "path of a tokenizer.json"
        ) from error
    except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError
        raise CorpusError(
            f"the hub cannot be reached for {file} ({first_line(error)}); check the network or "
            "HF_ENDPOINT, or give the path of a tokenizer.json"
        ) from error
    except EntryNotFoundError as error:
        raise CorpusError(
            f"{file} has no {NAME}: it was published in another form; convert it with the library "
            "transformers, which saves one, and give its path"
        ) from error
    except Exception as error:  # the hub's client and httpx raise many kinds
        raise CorpusError(
            f"{file} could not be loaded from the hub ({first_line(error)}); check the network, or "
            "give the path of a tokenizer.json"
        ) from error
