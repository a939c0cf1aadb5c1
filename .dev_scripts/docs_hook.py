"""MkDocs hook: README.md becomes the home page, and files outside docs/ that a page links become pages of the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / 'README.md'
LINK = re.compile(r'(?<=\]\()(?!\w+:)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.json': 'json'}
# Comments that name the test of a code block.
COMMENT = re.compile(r'^ *<!--.*?-->\n', re.MULTILINE)
# Sphinx roles in docstrings, as Markdown renders them.
ROLE = re.compile(r':(?:attr|class|func|meth|mod):<code>(?P<short>~?)(?P<name>[\w.]+)</code>')


def on_files(files, config):
    """Add the home page and a page for each file or folder of the repository that a page links."""
    pages = [file for file in files if file.is_documentation_page()]
    files.append(File.generated(config, 'index.md', content=README.read_text(encoding='utf-8')))
    linked = set(_linked(README))
    for file in pages:
        linked |= set(_linked(Path(file.abs_src_path)))
    for path in [path for path in linked if path.is_dir()]:
        linked |= set(path.glob('*.py'))
    for path in sorted(linked):
        files.append(File.generated(config, _site_path(path), content=_source_page(path)))
    for file in [file for file in files if file.src_uri.startswith('examples/') and file.src_uri.endswith('.py')]:
        files.remove(file)
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links at pages of the site, and leave the comments out."""
    folder = README.parent if page.file.src_uri == 'index.md' else (ROOT / 'docs' / page.file.src_uri).parent
    if page.file.src_uri.startswith('source/'):
        return markdown
    here = Path(page.file.src_uri).parent

    def point(match: re.Match) -> str:
        target = (folder / match['path']).resolve()
        if not target.exists():
            return match[0]  # MkDocs reports it
        return f'{os.path.relpath(_site_path(target), here)}{match["anchor"] or ""}'

    return LINK.sub(point, COMMENT.sub('', markdown))


def on_page_content(html, page, config, files):
    """Turn roles of Sphinx into references, where the API pages have what they name."""

    def refer(match: re.Match) -> str:
        shown = match['name'].split('.')[-1] if match['short'] else match['name']
        return f'<autoref optional identifier="{match["name"]}"><code>{shown}</code></autoref>'

    return ROLE.sub(refer, html)


def _linked(page: Path) -> list[Path]:
    """Return what a page links outside the pages and images of docs/."""
    found = [(page.parent / match['path']).resolve() for match in LINK.finditer(page.read_text(encoding='utf-8'))]
    return [path for path in found if path.exists() and _site_path(path).startswith('source/')]


def _site_path(path: Path) -> str:
    """Return the source path in the site of a file or folder of the repository."""
    if path == README:
        return 'index.md'
    docs = ROOT / 'docs'
    if path.is_relative_to(docs) and path.is_file() and path.suffix != '.py':
        return path.relative_to(docs).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return f'source/{name}/index.md' if path.is_dir() else f'source/{name}.md'


def _source_page(path: Path) -> str:
    """Return the page of a source file, or of a folder; the search leaves it out."""
    head = f'---\nsearch:\n  exclude: true\n---\n\n# {path.relative_to(ROOT).as_posix()}\n\n'
    if path.is_dir():
        return head + '\n'.join(f'* [{file.name}]({file.name}.md)' for file in sorted(path.glob('*.py'))) + '\n'
    text = path.read_text(encoding='utf-8').rstrip()
    return f'{head}````{LANGUAGES.get(path.suffix, "text")}\n{text}\n````\n'
