"""Code blocks of README.md and docs/: run here, or by the test that a comment above them names.

Above every bash and python block stands one of
    <!-- run by tests/test_docs.py -->                           python: executed; a config: loaded
    <!-- run by tests/test_docs.py, on top of docs/examples/faster_rcnn.py -->     a config's model is built
    <!-- run by tests/test_tools/test_analyze.py -->             commands: a test that calls the same tools
    <!-- needs COCO -->, ADE20K, ImageNet, a GPU, the authors' files, the internet; several with "and"
    <!-- minutes of CPU: why no test runs it -->
"""

import ast
import pkgutil
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import REPO, TINY
from helpers.docs_blocks import NOT_RUN, Block, pages, read_blocks
from mmengine.config import Config

BLOCKS = [block for page in pages() for block in read_blocks(page)]
CODE = [block for block in BLOCKS if block.language in ('bash', 'sh', 'shell', 'console', 'python', 'py')]
HERE = [block for block in CODE if block.run_by and block.run_by['test'] == 'tests/test_docs.py']
COMMANDS = [block for block in CODE if not block.language.startswith('py')]
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)(?:\s+"[^"]*")?\)')


def is_config(block: Block) -> bool:
    """Tell whether a block of Python is a config: assignments alone, one of a dict or of ``_base_``."""
    body = ast.parse(block.text).body
    if not all(isinstance(node, ast.Assign) for node in body):
        return False
    called = {getattr(node.func, 'id', '') for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)}
    return called == {'dict'} or '_base_' in {getattr(node.targets[0], 'id', '') for node in body}


def command_words(block: Block) -> list[str]:
    """Return the words of a block's commands, without comments."""
    text = block.text.replace('\\\n', ' ')
    return [word for line in text.splitlines() for word in shlex.split(line, comments=True)]


@pytest.mark.parametrize('block', CODE, ids=str)
def test_code_block_names_its_test_or_why_there_is_none(block):
    assert block.run_by or NOT_RUN.fullmatch(block.mark), (
        f'{block}: no comment above the block says which test runs it, or why none does; found {block.mark!r}. '
        f'See the head of tests/test_docs.py.'
    )
    if not block.run_by:
        return
    test = REPO / block.run_by['test']
    assert test.is_file(), f'{block}: there is no {block.run_by["test"]}'
    here = test == Path(__file__).resolve()
    assert not here or block not in COMMANDS, f'{block}: this file runs Python; name the test that runs the command'


@pytest.mark.parametrize('block', COMMANDS, ids=str)
def test_paths_in_commands_exist(block):
    """Names in capitals are for the reader to fill in."""
    for word in command_words(block):
        named = re.fullmatch(r'(tools|configs|docs|tests|mmrest)/.*\.(py|sh)', word)
        if named and not re.search(r'[A-Z]{2,}|[{*<]', word):
            assert (REPO / word).exists(), f'{block}: there is no {word}'


@pytest.mark.parametrize('block', [block for block in HERE if not block.run_by['base']], ids=str)
def test_python_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if is_config(block):
        for library in set(re.findall(r"'(mmdet|mmseg|mmpretrain)::", block.text)):
            pytest.importorskip(library)
        (tmp_path / 'config.py').write_text(block.text)
        assert Config.fromfile(tmp_path / 'config.py')
    else:
        exec(compile(block.text, str(block), 'exec'), {'__name__': '__main__'})


@pytest.mark.parametrize('block', [block for block in HERE if block.run_by['base']], ids=str)
def test_config_block_on_an_example_builds(block, tmp_path):
    """The example and all that the block changes are built, with a tiny backbone."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import HOOKS, MODELS, init_default_scope

    base = REPO / block.run_by['base']
    assert is_config(block), f'{block} is no config'
    (tmp_path / 'config.py').write_text(f"_base_ = '{base}'\n{block.text}")
    (library,) = re.findall(r"_base_ = '(\w+)::", base.read_text())
    pytest.importorskip('mmcv._ext')
    pytest.importorskip(f'{library}.utils').register_all_modules(False)
    cfg = Config.fromfile(tmp_path / 'config.py')
    changed = Config.fromstring(block.text, '.py')
    init_default_scope(cfg.default_scope)
    narrow = dict(zip((64, 96, 128, 192, 256, 384, 512, 768), sorted(TINY['embed_dims'] * 2)))
    arch = cfg.model.backbone.arch
    cfg.merge_from_dict({'model.backbone.arch': dict(TINY, _delete_=True)})
    for part in (cfg.model.get('neck'), cfg.model.get('decode_head'), cfg.model.get('auxiliary_head')):
        if part and part.get('in_channels'):  # of the arch that the example and the block agree on
            channels = part.in_channels
            part.in_channels = narrow[channels] if isinstance(channels, int) else [narrow[width] for width in channels]
    model = MODELS.build(cfg.model)
    assert arch and model.backbone
    if 'optim_wrapper' in changed and cfg.optim_wrapper.get('type') != 'AmpOptimWrapper':  # that one needs a GPU
        assert build_optim_wrapper(model, cfg.optim_wrapper).param_groups
    for hook in changed.get('custom_hooks', []):
        hook.pop('priority', None)  # which is for the runner
        assert HOOKS.build(hook)


def slug(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    plain = re.sub(r'[`*]|\[([^\]]*)\]\([^)]*\)', r'\1', heading).strip().lower()
    return re.sub(r'[^\w\- ]', '', plain).replace(' ', '-')


def without_code(page: Path) -> str:
    return re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)


@pytest.mark.parametrize('page', pages(), ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(without_code(page)):
        if re.match(r'[a-z]+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f'{page.name}: {target} leads nowhere'
        if anchor and file.suffix == '.md':
            headings = re.findall(r'^#+\s+(.*)$', without_code(file), flags=re.MULTILINE)
            assert anchor in map(slug, headings), f'{page.name}: {file.name} has no heading {anchor}'


def test_readme_speed_and_memory_match_the_details():
    readme = re.findall(r'\| ([\d.]+) times faster \| 1/(\d+) \|', (REPO / 'README.md').read_text(encoding='utf-8'))
    details = (REPO / 'docs/performance_details.md').read_text(encoding='utf-8')
    default, ffn, both = re.findall(r'^\| \*\*(?:default|`ffn_recompute`.*)\*\* \| (.*) \|$', details, re.MULTILINE)[:3]
    cells = [default.split(' | ')[:2], *(row.split(' | ')[2:] for row in (default, ffn, both))]
    assert readme == [(time.split()[0], f'{float(re.search("1/([0-9.]+)", memory)[1]):.0f}') for time, memory in cells]


@pytest.mark.parametrize('page', sorted((REPO / 'docs/api').glob('*.md')), ids=lambda page: page.stem)
def test_api_page_names_importable_objects(page):
    names = re.findall(r'^::: (\S+)$', page.read_text(encoding='utf-8'), flags=re.MULTILINE)
    assert page.stem == 'index' or names
    for name in names:
        assert getattr(pkgutil.resolve_name(name), '__doc__', None), f'{page.name}: {name} has no docstring'


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    """`make docs` makes the environment that this needs."""
    if not (REPO / 'mkdocs.yml').is_file():
        pytest.skip('the site is not part of this copy')
    python = REPO / '.venv-docs/bin/python'
    if not python.exists():
        pytest.skip('`make docs` has not been run here')
    command = [python, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path]
    built = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert built.returncode == 0, built.stdout
    home = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert 'href="installation.html"' in home and 'run by tests' not in home
    assert (tmp_path / 'source/configs/retinanet_rest_lite_fpn_shapes.py.html').is_file()


def test_unmarked_and_unclosed_blocks_are_found(tmp_path, monkeypatch):
    """Blocks without a mark, with a false one, and unclosed ones are found."""
    monkeypatch.setattr('helpers.docs_blocks.REPO', tmp_path)
    page = tmp_path / 'page.md'
    page.write_text(
        'text\n```bash\nmake\n```\n<!-- needs COCO and a GPU -->\n```bash\nmake\n```\n'
        '1. item\n\n   <!-- run by tests/none.py -->\n\n   ```python\n   a = 1\n   ```\n'
    )
    bare, marked, indented = read_blocks(page)
    assert bare.mark == '' and NOT_RUN.fullmatch(marked.mark) and not NOT_RUN.fullmatch('needs a coffee')
    assert indented.run_by['test'] == 'tests/none.py' and indented.text == 'a = 1\n' and indented.line == 13
    for block in (bare, indented):
        with pytest.raises(AssertionError):
            test_code_block_names_its_test_or_why_there_is_none(block)
    assert slug('What `out_norm` is: a *norm*') == 'what-out_norm-is-a-norm'
    page.write_text('```\nopen\n')
    with pytest.raises(ValueError, match='not closed'):
        read_blocks(page)
