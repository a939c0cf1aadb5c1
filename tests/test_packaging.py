"""What is installed: the package with configs and tools in it, however it was built, far from the repository."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from conftest import run_process
from mmengine.config import Config
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import mmrest
from mmrest.utils import resources

SOURCES = (
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'CITATION.cff',
    'model-index.yml',
    'constraints.txt',
    'Makefile',
    'pyproject.toml',
    'setup.py',
    'mmrest',
    'configs',
    'tools',
    'docs',
)
BUILT = re.compile(r'build/|mmrest\.egg-info/')  # which git ignores
# As a frontend of builds would call them, without fetching anything.
BUILD = 'import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))'


def environment(**more: str) -> dict[str, str]:
    """Variables for processes that must not see the repository."""
    return {**{key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}, **more}


def build(kind: str, source: Path, out: Path) -> Path:
    """Call a hook of the build backend in a source folder; the file that it made."""
    out.mkdir(exist_ok=True)
    printed = run_process([sys.executable, '-c', BUILD, f'build_{kind}', out], source, environment())
    return out / printed.strip().splitlines()[-1]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def source(repo, tmp_path_factory) -> Path:
    """A copy of the sources in which an editable installation was built."""
    pytest.importorskip('wheel')
    folder = tmp_path_factory.mktemp('packaging') / 'source'
    folder.mkdir()
    ignore = shutil.ignore_patterns('__pycache__')
    for name in SOURCES:
        if (repo / name).is_dir():
            shutil.copytree(repo / name, folder / name, ignore=ignore)
        else:
            shutil.copy2(repo / name, folder / name)
    before = files(folder)
    build('editable', folder, folder.parent / 'dist-editable')
    assert not {name for name in files(folder) - before if not BUILT.match(name)}
    return folder


@pytest.fixture(scope='module')
def wheel(source) -> Path:
    """Built after the editable installation, which must not get in its way."""
    before = files(source)
    path = build('wheel', source, source.parent / 'dist')
    assert not {name for name in files(source) ^ before if not BUILT.match(name)}
    return path


@pytest.fixture(scope='module')
def site(wheel) -> Path:
    """The wheel unpacked, as pip would install it."""
    folder = wheel.parents[1] / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


# --- names of configs ---


def test_names_become_paths(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = mmrest.list_configs()
    on_disk = {path for path in (repo / 'configs').rglob('*.py') if '_base_' not in path.parts}
    assert {Path(mmrest.get_config_path(name)) for name in names} == on_disk and len(names) == len(on_disk)
    for name in ('published/rest_lite_224_in1k_3rdparty', 'published/rest_lite_224_in1k_3rdparty.py'):
        assert mmrest.get_config_path(name) == str(repo / 'configs/published/rest_lite_224_in1k_3rdparty.py')
    assert Path(mmrest.get_config_path('_base_/schedules/adamw_1x')).is_file()


@pytest.mark.parametrize(
    'name, hint',
    [
        ('retinanet_rest_smal_fpn_1x_coco', 'Did you mean retinanet_rest_small_fpn_1x_coco'),
        ('rest_lite_224_in1k_3rdparty.py', 'Did you mean published/rest_lite_224_in1k_3rdparty?'),
        ('../setup', '--list'),
        ('', '--list'),
        ('???', '--list'),
    ],
)
def test_unknown_names_are_one_error(name, hint, capsys):
    with pytest.raises(FileNotFoundError, match=re.escape(hint)):
        mmrest.get_config_path(name)
    with pytest.raises(SystemExit) as status:
        resources.main([name])
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('error: mmrest has no config') and hint in error and len(error.splitlines()) == 1


def test_an_installation_without_configs_says_so(monkeypatch, tmp_path):
    (tmp_path / 'site' / 'mmrest').mkdir(parents=True)
    (tmp_path / 'site' / 'configs').mkdir()  # another project's
    monkeypatch.setattr(resources, 'PACKAGE', tmp_path / 'site' / 'mmrest')
    with pytest.raises(FileNotFoundError, match='reinstall it'):
        mmrest.list_configs()


def test_the_command_prints_paths(repo, capsys):
    for args, expected in (
        (['upernet_rest_lite_shapes'], repo / 'configs/upernet_rest_lite_shapes.py'),
        (['--tools'], repo / 'tools'),
    ):
        resources.main(args)
        assert capsys.readouterr().out == f'{expected}\n'
    resources.main(['--list'])
    assert capsys.readouterr().out.split() == mmrest.list_configs()


# --- what is built ---


def test_editable_installation_finds_the_configs_of_the_sources(source):
    found = runpy.run_path(str(source / 'mmrest/utils/resources.py'))['get_config_path']('upernet_rest_lite_shapes')
    assert found == str(source / 'configs' / 'upernet_rest_lite_shapes.py')


def test_wheel_carries_configs_and_tools(repo, wheel, site):
    mim = site / 'mmrest' / '.mim'
    ignored = re.compile(r'__pycache__|setup_env\.py|setup_progress\.py')
    for name in ('configs', 'tools'):
        expected = {path for path in files(repo / name) if not ignored.search(path)}
        assert files(mim / name) == expected
        assert all((mim / name / path).read_bytes() == (repo / name / path).read_bytes() for path in expected)
    assert (mim / 'model-index.yml').read_bytes() == (repo / 'model-index.yml').read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        names = archive.namelist()
    assert modes['mmrest/.mim/tools/dist_train.sh'] & 0o111
    assert {name.split('/')[0] for name in names} == {'mmrest', f'mmrest-{mmrest.__version__}.dist-info'}
    # Every module of the package, and nothing that was there before.
    modules = {path for path in files(repo / 'mmrest') if path.endswith('.py')}
    assert {name.removeprefix('mmrest/') for name in names if re.match(r'mmrest/(?!\.mim)', name)} == modules
    text = (site / f'mmrest-{mmrest.__version__}.dist-info/METADATA').read_text()
    assert 'License-File: LICENSE' in text and 'Provides-Extra: export' in text


def test_wheel_of_the_source_distribution_is_the_same(source, wheel, tmp_path):
    sdist = build('sdist', source, tmp_path / 'sdist')
    shutil.unpack_archive(sdist, tmp_path)
    again = build('wheel', tmp_path / sdist.name.removesuffix('.tar.gz'), tmp_path / 'dist')
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_installed_configs_can_be_loaded(site):
    """With what they inherit beside them and from mmdet."""
    pytest.importorskip('mmdet')
    folder = site / 'mmrest' / '.mim' / 'configs'
    cfg = Config.fromfile(folder / 'published' / 'retinanet_rest_small_fpn_1x_coco_3rdparty.py')
    assert (cfg.model.backbone.arch, cfg.model.backbone.out_norm) == ('small', 'trunk')


def test_a_config_elsewhere_inherits_an_installed_one(site, tmp_path):
    """In a process that sees the unpacked wheel only: what is missing are the data that the installed config names."""
    pytest.importorskip('mmdet')
    (tmp_path / 'own.py').write_text(
        "_base_ = __import__('mmrest').get_config_path('retinanet_rest_lite_fpn_shapes')\n"
        "model = dict(backbone=dict(arch='small'))\n"
    )
    tools = site / 'mmrest' / '.mim' / 'tools'
    printed = run_process(
        [sys.executable, tools / 'train.py', 'own.py'], tmp_path, environment(PYTHONPATH=str(site)), status=2
    )
    assert 'Data of this config are missing:\n  data/shapes/' in printed
    assert f'Draw them: python {tools / "draw_shapes.py"} data/shapes/' in printed
    assert {path.name for path in tmp_path.iterdir()} == {'own.py'}


# --- what it needs ---


def requirements(site: Path, extra: str) -> dict[str, str]:
    """Names and versions that an extra of the wheel adds; of the wheel without extras for ''."""
    message = Parser().parsestr((site / f'mmrest-{mmrest.__version__}.dist-info/METADATA').read_text())
    found = [Requirement(text) for text in message.get_all('Requires-Dist')]
    return {
        one.name: str(one.specifier)
        for one in found
        if (one.marker.evaluate({'extra': extra}) if one.marker else not extra)
    }


def test_torch_alone_is_always_required(site):
    """mmengine has another name in the maintained fork, where OpenMMLab's would overwrite its files."""
    assert requirements(site, '') == {'torch': '>=2.4'}


@pytest.mark.parametrize('extra, distribution', [('det', 'mmdet'), ('seg', 'mmsegmentation'), ('cls', 'mmpretrain')])
def test_extras_leave_the_choice_of_mmcv(site, extra, distribution):
    """mmcv-lite would overwrite files of a compiled mmcv."""
    needed = requirements(site, extra)
    assert {distribution, 'mmengine', 'setuptools'} <= set(needed) and not {'mmcv', 'mmcv-lite'} & set(needed)
    assert not SpecifierSet(needed['setuptools']).contains('82.0.0')


def test_one_mmcv_in_each_extra_that_has_one(site):
    assert {'mmcv-lite', 'mmengine', 'torchvision', 'setuptools'} == set(requirements(site, 'mmcv-lite'))
    assert {'mmdet', 'mmsegmentation', 'mmpretrain', 'mmcv-lite'} <= set(requirements(site, 'all'))
    assert not [name for name in requirements(site, 'all') if name.startswith('onedl-') or name == 'mmcv']
    fork = requirements(site, 'onedl')
    assert {name for name in fork if not name.startswith('onedl-')} == {'torchvision'} and 'onedl-mmcv' in fork


def pins(repo: Path, python: str) -> dict[str, str]:
    """The versions of constraints.txt for one Python; a second one for a name fails."""
    found = {}
    for line in (repo / 'constraints.txt').read_text().splitlines():
        if not line or line.startswith('#'):
            continue
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate({'python_version': python}):
            assert one.name not in found, f'{one.name} is pinned twice for Python {python}'
            (found[one.name],) = [specifier.version for specifier in one.specifier]
    return found


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13'])
def test_constraints_for_each_python(repo, site, python):
    """One version of each package, within the limits of the extras."""
    found = pins(repo, python)
    needed = {**requirements(site, 'all'), **requirements(site, '')}
    del needed['grad-cam']  # which the environment of the tests does without
    for name, limits in needed.items():
        assert SpecifierSet(limits).contains(found[name]), name
    assert int(found['numpy'].split('.')[0]) == 2


def test_constraints_hold_what_is_installed_in_turn(repo):
    """Whatever a pinned package needs is pinned as well, but for what belongs to torch."""
    found = pins(repo, f'{sys.version_info.major}.{sys.version_info.minor}')
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


def test_missing_requirements_are_named_with_their_command(repo, tmp_path):
    hide = (
        'import sys\nclass Hide:\n    def find_spec(self, name, *_):\n        if name == {0!r}:\n'
        '            raise ModuleNotFoundError(name, name=name)\nsys.meta_path.insert(0, Hide())\nimport mmrest'
    )
    for missing, command in (('torch', 'pip install torch.'), ('mmengine', '"setuptools<82"')):
        code = hide.format(missing)
        printed = run_process([sys.executable, '-c', code], tmp_path, environment(PYTHONPATH=str(repo)), status=1)
        assert f'{missing} is not installed: python -m pip install' in printed and command in printed


def test_pre_commit_runs_the_tested_ruff(repo):
    (version,) = re.findall(r'^ruff==(\S+)$', (repo / 'constraints.txt').read_text(), re.MULTILINE)
    assert f'ruff=={version}]' in (repo / '.pre-commit-config.yaml').read_text()


def test_citation_is_of_this_version_and_these_papers(repo):
    import yaml

    from mmrest.analysis.papers import PAPERS

    citation = yaml.safe_load((repo / 'CITATION.cff').read_text())
    assert citation['version'] == mmrest.__version__
    assert [(paper['title'], paper['url']) for paper in citation['references']] == [
        (paper['title'], paper['url']) for paper in PAPERS.values()
    ]


# --- a fresh environment ---

INFER = """
import sys
import mmrest
from mmdet.apis import DetInferencer
config, checkpoint, image = sys.argv[1:]
found = DetInferencer(config, checkpoint, device='cpu')(image, out_dir='painted')['predictions'][0]
print('found', len(found['scores']), 'classes', len(found['labels']), mmrest.__file__)
"""


@pytest.fixture(scope='module')
def python(wheel) -> Path:
    """Python of an environment with the wheel and the other packages of this one, but without the repository."""
    folder = wheel.parents[1] / 'venv'
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', str(folder)])
    python = folder / 'bin' / 'python'
    own = Path(run_process([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], folder).strip())
    # A folder named so is searched, but what hangs on files .pth in it, as an editable installation does, is not.
    (own / 'others.pth').write_text('\n'.join({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}))
    run_process(
        [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-deps', '--no-index', wheel],
        folder,
        environment(),
    )
    printed = run_process([python, '-c', 'import mmrest; print(mmrest.__file__)'], folder, environment())
    assert Path(printed.strip()) == own / 'mmrest' / '__init__.py'
    assert (own / 'mmrest' / '.mim' / 'configs').is_dir()
    return python


@pytest.mark.slow
def test_mmdets_own_config_and_inferencer_in_a_fresh_environment(python, shapes, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    import mmdet
    from helpers.detector_runs import UPSTREAM, steps, upstream_options

    (tmp_path / 'own.py').write_text(UPSTREAM)
    train = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    log = run_process(
        [python, train, 'own.py', '--work-dir', 'run', '--cfg-options', *upstream_options(shapes)],
        tmp_path,
        environment(),
    )
    assert sorted(steps(log)) == [(1, 1), (1, 2)]
    image = next((shapes / 'images' / 'val').glob('*.png'))
    printed = run_process([python, '-c', INFER, 'own.py', 'run/epoch_1.pth', image], tmp_path, environment())
    found = re.search(r'found (\d+) classes (\d+) (\S+)', printed)
    assert found and found[1] == found[2] and Path(found[3]).is_relative_to(python.parents[1])
    assert (tmp_path / 'painted' / 'vis' / image.name).stat().st_size > 0


@pytest.mark.slow
def test_installed_demo_runs_in_any_folder(python, tmp_path):
    """The whole demo with a small network: what it writes is in the current folder."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    tools = run_process([python, '-m', 'mmrest', 'configs', '--tools'], tmp_path, environment()).strip()
    options = [
        'train_cfg.max_epochs=1',
        'train_dataloader.dataset.indices=16',
        'val_dataloader.dataset.indices=8',
        'test_dataloader.dataset.indices=8',
        'model.test_cfg.score_thr=0.0',
    ]  # or it would find nothing
    printed = run_process(
        [python, f'{tools}/run_demo.py', '--cfg-options', *options], tmp_path, environment(), timeout=600
    )
    assert 'Done in' in printed
    assert {path.name for path in tmp_path.iterdir()} == {'data', 'work_dirs'}
    assert (tmp_path / 'work_dirs/demo/predictions.png').is_file()
