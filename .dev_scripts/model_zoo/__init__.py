"""Generator of the model index and the model zoo page."""

from .entries import Entry, config_files, describe
from .pages import make_metafile, make_pages, make_zoo_page

__all__ = ['Entry', 'config_files', 'describe', 'make_metafile', 'make_pages', 'make_zoo_page']
