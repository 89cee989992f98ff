"""The command `websopy-sync`: chat, sandbox, plugins, and the commands that plugins add.

To add a flag, open the file of its command: chat.py, sandbox.py or plugins.py. The commands of a
conversation, such as /retry, are in commands.py.
"""

from .main import main
from .terminal import visible

__all__ = ["main", "visible"]
