"""The documentation site: Sphinx with MyST, built without a network by `make docs`."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "somaseg"
author = "The somaseg authors"
project_copyright = "2026, The somaseg authors"
release = metadata.version("somaseg")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "repository_pages", "settings_tables", "short_types"]
exclude_patterns = ["_build"]
templates_path = ["templates"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

default_role = "literal"  # docstrings write code between single backticks, as Markdown does
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "pydata_sphinx_theme"
html_title = "somaseg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"**": ["contents.html"]}
