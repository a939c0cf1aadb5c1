"""The built package: modules, configs, tools, the command, metadata and requirements."""

from __future__ import annotations

import contextlib
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from conftest import run_process
from helpers.wheels import build, clean_environment, copy_sources, list_files
from mmengine.config import Config
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import mmrest


@pytest.fixture(scope='module')
def source(repo, tmp_path_factory) -> Path:
    """A copy of the sources in which an editable installation was built, which must not get in a wheel's way."""
    pytest.importorskip('wheel')
    folder = copy_sources(repo, tmp_path_factory.mktemp('packaging') / 'source')
    build('editable', folder, folder.parent / 'dist-editable')
    return folder


@pytest.fixture(scope='module')
def wheel(source) -> Path:
    return build('wheel', source, source.parent / 'dist')


@pytest.fixture(scope='module')
def site(wheel) -> Path:
    """The wheel unpacked, as pip would install it."""
    folder = wheel.parents[1] / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_editable_installation_finds_the_configs_of_the_sources(source):
    found = runpy.run_path(str(source / 'mmrest/utils/resources.py'))['get_config_path']('upernet_rest_lite_shapes')
    assert found == str(source / 'configs' / 'upernet_rest_lite_shapes.py')


def test_wheel_holds_modules_configs_and_tools(repo, wheel, site):
    mim = site / 'mmrest' / '.mim'
    ignored = re.compile(r'__pycache__|setup_env\.py|setup_progress\.py')
    for name in ('configs', 'tools'):
        expected = {path for path in list_files(repo / name) if not ignored.search(path)}
        assert list_files(mim / name) == expected
        changed = [path for path in expected if (mim / name / path).read_bytes() != (repo / name / path).read_bytes()]
        assert changed == []
    assert (mim / 'model-index.yml').read_bytes() == (repo / 'model-index.yml').read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        names = archive.namelist()
    assert modes['mmrest/.mim/tools/dist_train.sh'] & 0o111
    top = {'mmrest', 'mmrest_cli.py', f'mmrest-{mmrest.__version__}.dist-info'}
    assert {name.split('/')[0] for name in names} == top
    # Every module and template of the package, and nothing that was there before.
    modules = {path for path in list_files(repo / 'mmrest') if path.endswith(('.py', '.html'))}
    assert 'visualization/report/page.html' in modules
    packed = {name.removeprefix('mmrest/') for name in names if re.match(r'mmrest/(?!\.mim)', name)}
    assert packed == modules | {'py.typed'}


def read_metadata(site: Path) -> str:
    """Return the core metadata of the unpacked wheel."""
    return (site / f'mmrest-{mmrest.__version__}.dist-info/METADATA').read_text()


def test_metadata_are_valid_and_link_to_the_papers(site):
    """An index refuses a file whose metadata break a rule; there is no homepage to link to."""
    from mmrest.analysis.papers import PAPERS

    found = Metadata.from_email(read_metadata(site), validate=True)
    assert (found.name, str(found.version), found.license_files) == ('mmrest', mmrest.__version__, ['LICENSE'])
    assert found.requires_python == '>=3.10' and 'export' in found.provides_extra
    assert sorted(found.project_urls.values()) == sorted(paper['url'] for paper in PAPERS.values())
    assert found.home_page is None and 'Typing :: Typed' in found.classifiers


def test_installed_command_without_torch_helps_and_names_what_is_missing(wheel, tmp_path):
    """In a new environment with the wheel alone."""
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'venv'])
    folder = tmp_path / 'venv' / 'bin'
    command = [sys.executable, '-m', 'pip', '--python', folder / 'python', 'install', '-q', '--no-deps', '--no-index']
    run_process([*command, wheel], tmp_path, clean_environment())

    def run(*argv: str, status: int = 0) -> str:
        return run_process([folder / 'mmrest', *argv], tmp_path, clean_environment(), status)

    assert '\n  train  ' in run('--help') and run('--version') == f'mmrest {mmrest.__version__}\n'
    path = Path(run('configs', 'upernet_rest_lite_shapes').strip())
    assert path.is_file() and path.is_relative_to(folder.parent)
    assert re.search(r'FAIL  torch +not installed', run('doctor', status=1))
    assert re.fullmatch('error: mmrest needs torch and mmengine, .*\n', run('train', path, status=1))


def test_wheel_built_from_the_sdist_holds_the_same_files(source, wheel, tmp_path):
    sdist = build('sdist', source, tmp_path / 'sdist')
    shutil.unpack_archive(sdist, tmp_path)
    again = build('wheel', tmp_path / sdist.name.removesuffix('.tar.gz'), tmp_path / 'dist')
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_installed_config_is_loaded(site):
    """Its bases are beside it and in mmdet."""
    pytest.importorskip('mmdet')
    folder = site / 'mmrest' / '.mim' / 'configs'
    cfg = Config.fromfile(folder / 'published' / 'retinanet_rest_small_fpn_1x_coco_3rdparty.py')
    assert (cfg.model.backbone.arch, cfg.model.backbone.out_norm) == ('small', 'trunk')


def test_config_elsewhere_inherits_an_installed_one(site, tmp_path):
    """The process sees the unpacked wheel only, and gets as far as the missing data of the installed config."""
    pytest.importorskip('mmdet')
    (tmp_path / 'own.py').write_text(
        "_base_ = __import__('mmrest').get_config_path('retinanet_rest_lite_fpn_shapes')\n"
        "model = dict(backbone=dict(arch='small'))\n"
    )
    tools = site / 'mmrest' / '.mim' / 'tools'
    printed = run_process(
        [sys.executable, tools / 'train.py', 'own.py'], tmp_path, clean_environment(PYTHONPATH=str(site)), status=2
    )
    assert 'Data of this config are missing:\n  data/shapes/' in printed
    assert f'Draw them: python {tools / "draw_shapes.py"} data/shapes/' in printed
    assert {path.name for path in tmp_path.iterdir()} == {'own.py'}


def requirements(site: Path, extra: str) -> dict[str, str]:
    """Return the requirements that an extra of the wheel adds, by name; for '', those of the wheel without extras."""
    message = Parser().parsestr(read_metadata(site))
    found = [Requirement(text) for text in message.get_all('Requires-Dist')]
    return {
        one.name: str(one.specifier)
        for one in found
        if (one.marker.evaluate({'extra': extra}) if one.marker else not extra)
    }


def test_wheel_without_extras_requires_torch_alone(site):
    """mmengine has another name in the maintained fork, whose files OpenMMLab's would overwrite."""
    assert requirements(site, '') == {'torch': '>=2.4'}


@pytest.mark.parametrize('extra, distribution', [('det', 'mmdet'), ('seg', 'mmsegmentation'), ('cls', 'mmpretrain')])
def test_framework_extra_leaves_the_choice_of_mmcv(site, extra, distribution):
    """mmcv-lite would overwrite files of a compiled mmcv."""
    needed = requirements(site, extra)
    assert {distribution, 'mmengine', 'setuptools', 'safetensors'} <= set(needed) and not {'mmcv', 'mmcv-lite'} & set(
        needed
    )
    assert not SpecifierSet(needed['setuptools']).contains('82.0.0')


def test_extras_with_mmcv_have_only_one(site):
    assert {'mmcv-lite', 'mmengine', 'torchvision', 'setuptools'} == set(requirements(site, 'mmcv-lite'))
    assert {'mmdet', 'mmsegmentation', 'mmpretrain', 'mmcv-lite'} <= set(requirements(site, 'all'))
    assert [name for name in requirements(site, 'all') if name.startswith('onedl-') or name == 'mmcv'] == []
    fork = requirements(site, 'onedl')
    assert {name for name in fork if not name.startswith('onedl-')} == {
        'torchvision',
        'safetensors',
    } and 'onedl-mmcv' in fork


def pins(repo: Path, python: str) -> dict[str, str]:
    """Return the versions of constraints.txt for one Python, after checking that each name has one."""
    found = {}
    for line in (repo / 'constraints.txt').read_text().splitlines():
        if not line or line.startswith('#'):
            continue
        one = Requirement(line)
        version = dict(python_version='.'.join(python.split('.')[:2]), python_full_version=python)
        if one.marker is None or one.marker.evaluate(version):
            assert one.name not in found, f'{one.name} is pinned twice for Python {python}'
            (found[one.name],) = [specifier.version for specifier in one.specifier]
    return found


@pytest.mark.parametrize('python', ['3.10.0', '3.11.2', '3.11.9', '3.12.0', '3.13.0'])  # 3.11.2 as in Debian 12
def test_constraints_for_each_python_are_within_the_extras(repo, site, python):
    """The version of each package is within the limits of the extras."""
    found = pins(repo, python)
    needed = {**requirements(site, 'all'), **requirements(site, '')}
    del needed['grad-cam']  # which the environment of the tests does without
    for name, limits in needed.items():
        assert SpecifierSet(limits).contains(found[name]), name
    assert int(found['numpy'].split('.')[0]) == 2


def test_constraints_pin_the_requirements_of_pinned_packages(repo):
    """All requirements of pinned packages are pinned as well, except those of torch."""
    found = pins(repo, '.'.join(map(str, sys.version_info[:3])))
    of_torch = {canonicalize_name(Requirement(text).name) for text in metadata.requires('torch')}
    checked = 0
    for name, version in found.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            if name in ('torch', 'torchvision') or metadata.version(name) != version:
                continue
            for needed in map(Requirement, metadata.requires(name) or ()):
                if needed.marker is None or needed.marker.evaluate({'extra': ''}):
                    assert canonicalize_name(needed.name) in {*found, *of_torch}, f'{needed.name}, which {name} needs'
                    checked += 1
    if not checked:
        pytest.skip('nothing is installed in the version of constraints.txt')


def test_import_without_a_requirement_names_the_install_command(repo, tmp_path):
    hide = (
        'import sys\nclass Hide:\n    def find_spec(self, name, *_):\n        if name == {0!r}:\n'
        '            raise ModuleNotFoundError(name, name=name)\nsys.meta_path.insert(0, Hide())\nimport mmrest'
    )
    for missing, command in (('torch', 'pip install torch.'), ('mmengine', '"setuptools<82"')):
        code = hide.format(missing)
        printed = run_process([sys.executable, '-c', code], tmp_path, clean_environment(PYTHONPATH=str(repo)), status=1)
        assert f'{missing} is not installed: python -m pip install' in printed and command in printed


def test_pre_commit_runs_the_pinned_ruff(repo):
    (version,) = re.findall(r'^ruff==(\S+)$', (repo / 'constraints.txt').read_text(), re.MULTILINE)
    assert f'ruff=={version}]' in (repo / '.pre-commit-config.yaml').read_text()


def test_citation_has_this_version_and_both_papers(repo):
    import yaml

    from mmrest.analysis.papers import PAPERS

    citation = yaml.safe_load((repo / 'CITATION.cff').read_text())
    assert citation['version'] == mmrest.__version__
    assert [(paper['title'], paper['url']) for paper in citation['references']] == [
        (paper['title'], paper['url']) for paper in PAPERS.values()
    ]
