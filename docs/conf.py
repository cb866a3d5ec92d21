"""Configuration of the documentation: `make docs` builds it into build/docs, with warnings as errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# `python -m sphinx` puts the checkout on the path, where transformers takes the folder `kernels` for a package of that name.
sys.path[:] = [str(HERE / "_ext"), *(entry for entry in sys.path if entry not in ("", str(HERE.parent)))]

import mixfast  # noqa: E402

project = "mixfast"
copyright = "the mixfast developers"
author = "the mixfast developers"
version = release = mixfast.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "command_pages",
    "file_blocks",
    "mathml",
    "room_docs",
]
exclude_patterns = ["_ext", "_templates", "examples/*.ipynb", "examples/*.py", "examples/*.py.md5", "examples/*.zip"]
templates_path = ["_templates"]
# Options such as `--kl` must not become dashes.
smartquotes = False
# The copy button takes the commands of a console block, without prompt and output.
copybutton_prompt_text = "$ "
# Nothing is fetched while the documentation is built or read.
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}

# Pages are MyST markdown.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The API comes from the docstrings: the names in `__all__` and nothing else.
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autosummary_context = {"top_names": mixfast.__all__}
# Where the names of a class and a function differ in case only, so that one file system in two would hold one page.
autosummary_filename_map = {
    "mixfast.designs.Design": "mixfast.designs.Design-class",
    "mixfast.laws.Fit": "mixfast.laws.Fit-class",
}
# Docstrings set names and code in single backticks.
default_role = "literal"
html_math_renderer = "mathml"
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Examples run while the gallery is built.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "default_thumb_file": str(HERE / "_static" / "output.svg"),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10**6,
    "write_computation_times": False,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["mixfast.css"]
html_title = f"mixfast {version}"
html_show_sourcelink = False
html_copy_source = False
# The extracts below results are fetched from the pages, which a browser refuses for files.
html_show_search_summary = False
# Light or dark as the reader's system has it, with a switch.
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
