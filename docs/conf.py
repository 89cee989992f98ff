"""How Sphinx builds these pages: Markdown by MyST, the theme furo, docstrings by napoleon.

Build them with `sphinx-build -W --keep-going docs docs/_build/html`.
"""

from __future__ import annotations

from websopy_sync import __version__

project = "websopy-sync"
author = "the websopy-sync authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"websopy-sync {version}"

# Links like `page.md#a-heading`, as they work in a repository's file view too.
myst_heading_anchors = 3

default_role = "code"  # docstrings are read in the source first, so they are plain text with `code`
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
