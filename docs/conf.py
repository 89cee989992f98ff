"""How Sphinx builds these pages: Markdown by MyST, the theme furo, docstrings by autodoc.

Build them with `sphinx-build -W --keep-going docs docs/_build/html`.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from sphinx.application import Sphinx

from websopy_sync import __version__

project = "websopy-sync"
author = "the websopy-sync authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_numpy_docstring = False
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"websopy-sync {version}"

# Links like `page.md#a-heading`, as they work in a repository's file view too.
myst_heading_anchors = 3

# Docstrings are read in the source first of all, so they are plain text with `code` in it.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}


def keep_layout(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Let drawings stay as drawn, and begin a paragraph at each line like `name: what it is`.

    Of a module's docstring only its drawing is shown: the rest is for who reads the source.
    """
    paragraphs = [list(group) for filled, group in itertools.groupby(lines, key=bool) if filled]
    lines.clear()
    for paragraph in paragraphs:
        if any(line.startswith(("├", "└")) for line in paragraph):
            lines += ["::", "", *("    " + line for line in paragraph), ""]
            continue
        if what == "module":
            continue
        for line in paragraph:
            lines += ["", line] if re.match(r"[a-z_, ]+: ", line) else [line]
        lines.append("")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_layout)
