"""Docstrings: every public module, class and function has one, which names its object instead of asking a question."""

import ast
import re
from pathlib import Path

import pytest
from conftest import REPO

FOLDERS = ('mmrest', 'tools', '.dev_scripts')
# Methods of Hook, nn.Module and PyramidBackbone, documented there.
INHERITED = {'before_train', 'before_train_epoch', 'extra_repr'}
INHERITED |= {'build_attention', 'build_blocks', 'build_embed', 'norm_layer', 'published_norms'}
QUESTION = re.compile(r'(What|Whether|Where|When|Which|How|Telling)\b')


def find_faults(source: str) -> list[str]:
    """Return 'name: fault' for each docstring of a module that is missing or begins with a question word."""
    faults = []

    def visit(node, name, public):
        docstring = ast.get_docstring(node)
        inherited = name.split('.')[-1] in INHERITED and name.count('.') > 1
        setter = any(getattr(each, 'attr', '') == 'setter' for each in getattr(node, 'decorator_list', ()))
        if docstring is None and public and node.body and not inherited and not setter:
            faults.append(f'{name}: no docstring')
        if QUESTION.match(docstring or ''):
            faults.append(f'{name}: {docstring.splitlines()[0]}')
        for child in [] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, f'{name}.{child.name}', public and not child.name.startswith('_'))

    visit(ast.parse(source), 'module', True)
    return faults


@pytest.mark.parametrize('folder', FOLDERS)
def test_docstrings_of_a_folder_are_complete_and_name_their_object(folder):
    files = sorted(Path(REPO, folder).rglob('*.py'))
    assert files
    faults = {str(path.relative_to(REPO)): find_faults(path.read_text(encoding='utf-8')) for path in files}
    assert {path: found for path, found in faults.items() if found} == {}


def test_docstrings_of_tests_name_their_object():
    files = sorted((REPO / 'tests').rglob('*.py'))
    faults = [f'{path.name}: {fault}' for path in files for fault in find_faults(path.read_text(encoding='utf-8'))]
    assert [fault for fault in faults if not fault.endswith('no docstring')] == []


@pytest.mark.parametrize(
    'source, expected',
    [
        ('"""Parts."""\nclass A:\n    """A part."""\n    def f(self):\n        """Return it."""', []),
        ('', []),
        ('x = 1', ['module: no docstring']),
        ('"""How it works."""', ['module: How it works.']),
        ('"""However."""\ndef _private():\n    """Whether."""', ['module._private: Whether.']),
        ('"""A."""\nclass A:\n    """A."""\n    def f(self):\n        pass', ['module.A.f: no docstring']),
        ('"""A."""\nclass _A:\n    def f(self):\n        pass\ndef __getattr__(name):\n    pass', []),
        ('"""A."""\nclass A:\n    """A."""\n    def extra_repr(self):\n        pass', []),
        ('"""A."""\ndef extra_repr():\n    pass', ['module.extra_repr: no docstring']),
        ('"""A."""\nclass A:\n    """A."""\n    @x.setter\n    def x(self, value):\n        pass', []),
        ('"""A."""\ndef f():\n    """F."""\n    def inner():\n        """What."""', []),
    ],
)
def test_find_faults_cases_are_told_apart(source, expected):
    assert find_faults(source) == expected
