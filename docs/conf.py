"""Sphinx configuration. The build needs no network and no files outside the repository."""

import re

import fastnn

project = "fastnn"
author = copyright = "The fastnn developers"
release = version = fastnn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings name the types
numpydoc_show_class_members = False  # the class template lists them
numpydoc_show_inherited_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/(plot_|quickstart)",
    "ignore_pattern": r"comparison\.py$",  # part of quickstart.py
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"fastnn {release}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what an estimator inherits from scikit-learn: its documentation is there."""
    module = getattr(obj, "__module__", None)
    if what == "class" and module is not None and not module.startswith("fastnn"):
        return True
    return None


def _escape_shapes(app, what, name, obj, options, lines):
    """Quote attributes in shapes, ``(n_features_in_,)``: reStructuredText takes the underscore for a link."""
    lines[:] = [re.sub(r"\((\w+_),\)", r"(`\1`,)", line) for line in lines]


def setup(app):
    # Before numpydoc, which turns the docstring's types into markup.
    app.connect("autodoc-process-docstring", _escape_shapes, priority=100)
    app.connect("autodoc-skip-member", _skip_foreign_members)
