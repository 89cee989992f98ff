"""pytest-websopy: fixtures for testing an app that uses websopy-sync."""

from .endings import ENDINGS, Ending
from .recorder import Recorder
from .recordings import Piece, Recording, load_recordings, save_recordings

__all__ = [
    "ENDINGS",
    "Ending",
    "Piece",
    "Recorder",
    "Recording",
    "load_recordings",
    "save_recordings",
]

__version__ = "0.1.0"
