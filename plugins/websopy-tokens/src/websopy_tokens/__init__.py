"""websopy-tokens: counts the tokens of a websopy-sync client's answers, and what they cost."""

from .accounts import Budget, Price, Report, Totals
from .counters import (
    PuretiktokenCounter,
    RoughCounter,
    TiktokenCounter,
    TokenCounter,
    VocabularyError,
    best_counter,
)
from .plugin import TokensPlugin
from .running import RunningCount

__all__ = [
    "Budget",
    "Price",
    "PuretiktokenCounter",
    "Report",
    "RoughCounter",
    "RunningCount",
    "TiktokenCounter",
    "TokenCounter",
    "TokensPlugin",
    "Totals",
    "VocabularyError",
    "best_counter",
]

__version__ = "0.1.0"
