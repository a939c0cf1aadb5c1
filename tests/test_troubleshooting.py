"""The texts that docs/troubleshooting.md quotes are those that are printed."""

import re
from pathlib import Path

import pytest
import torch
from conftest import REPO, TINY, is_distributed

from mmrest import ResT, doctor
from mmrest.checkpoints import load_pretrained

PAGE = (REPO / 'docs/troubleshooting.md').read_text(encoding='utf-8')


def backbone(path: Path) -> None:
    from mmengine.registry import MODELS

    MODELS.build(dict(type='ResT', arch=TINY, depth=50))


def pretrained(path: Path) -> None:
    from mmengine.registry import MODELS

    MODELS.build(dict(type='ResT', arch=TINY, pretrained='open-mmlab://resnet50_v1c'))


def unregistered(path: Path) -> None:
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    MODELS.build(dict(type='NoSuchBackbone'))


def channels(path: Path) -> None:
    torch.nn.Conv2d(256, 8, 1)(torch.zeros(1, 64, 4, 4))


def fpn(path: Path) -> None:
    from mmdet.models import FPN

    FPN([8, 16, 24, 32], 8, 4)(ResT(TINY, out_indices=(1, 2, 3))(torch.zeros(1, 3, 64, 64)))


def arch(path: Path) -> None:
    ResT('smal')


def other_model(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    load_pretrained(ResT(TINY), path)


def code(path: Path) -> None:
    torch.save(dict(state_dict={}, hook=torch.nn.Linear(1, 1)), path)
    load_pretrained(ResT(TINY), path)


def web_page(path: Path) -> None:
    path.write_text('<!DOCTYPE html>')
    load_pretrained(ResT(TINY), path)


def one_image(path: Path) -> None:
    torch.nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))


def bfloat16(path: Path) -> None:
    import mmcv._ext
    from mmcv.ops import roi_align

    if hasattr(mmcv._ext, 'PROVIDER'):
        pytest.skip('the operators of mmrest take bfloat16; compiled ones do not')
    roi_align(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16), torch.zeros(1, 5, dtype=torch.bfloat16), 2)


def amp(path: Path) -> None:
    from mmengine.optim import AmpOptimWrapper

    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    AmpOptimWrapper(optimizer=torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1))


@pytest.mark.parametrize(
    'provoke, error, quoted, library',
    [
        (backbone, TypeError, "unexpected keyword argument 'depth'", None),
        (pretrained, TypeError, "unexpected keyword argument 'pretrained'", None),
        (unregistered, KeyError, ' is not in the mmdet::model registry', 'mmdet'),
        (channels, RuntimeError, 'to have 256 channels, but got 64 channels instead', None),
        (arch, ValueError, "Unknown arch 'smal': choose from lite, small, base, large", None),
        (other_model, RuntimeError, 'The checkpoint does not fit the model; another architecture?', None),
        (code, RuntimeError, 'is refused: loading it would run code from the file', None),
        (web_page, RuntimeError, 'is a web page, not a checkpoint', None),
        (one_image, ValueError, 'Expected more than 1 value per channel when training', None),
        (bfloat16, RuntimeError, "not implemented for 'BFloat16'", 'mmcv._ext'),
        (amp, AssertionError, 'is only available training on gpu, npu, mlu or musa', None),
    ],
)
def test_quoted_errors(provoke, error, quoted, library, tmp_path):
    if library:
        pytest.importorskip(library)
    with pytest.raises(error) as caught:
        provoke(tmp_path / 'file.pth')
    assert quoted in str(caught.value).replace('\\', '') and quoted in PAGE


def test_the_assertion_in_fpn():
    pytest.importorskip('mmcv._ext')
    pytest.importorskip('mmdet')
    with pytest.raises(AssertionError) as caught:
        fpn(None)
    last = caught.traceback[-1]
    assert last.path.name == 'fpn.py' and str(last.statement).strip() in PAGE


@pytest.mark.parametrize(
    'quoted',
    [
        "No module named 'mmcv._ext'",
        "No module named 'pkg_resources'",
        "No module named 'ftfy'",
        'undefined symbol',
        'MMCV==2.2.0 is used but incompatible',
        'operator torchvision::nms does not exist',
        'numpy.dtype size changed',
        'libGL.so.1',
    ],
)
def test_the_doctor_knows_them(quoted):
    assert quoted in PAGE and any(re.search(pattern, quoted) for pattern, *_ in doctor.KNOWN_ERRORS)


def test_versions_that_mmdet_asks_for():
    import importlib.util

    spec = importlib.util.find_spec('mmdet')
    if spec is None:
        pytest.skip('mmdet is not installed')
    text = Path(spec.origin).read_text()
    if is_distributed('onedl-mmdetection'):
        assert 'mmcv' not in text, "OneDL's fork takes any version of mmcv"
        return
    assert "mmcv_minimum_version = '2.0.0rc4'" in text and "mmcv_maximum_version = '2.2.0'" in text


@pytest.mark.parametrize(
    'module, quoted',
    [('mmdet/evaluation/metrics/coco_metric.py', 'The testing results of the whole dataset is empty.')],
)
def test_texts_in_sources(module, quoted):
    package = pytest.importorskip(module.split('/')[0])
    assert quoted in PAGE and quoted in (Path(package.__file__).parents[1] / module).read_text()


def test_errors_that_other_tests_provoke():
    """Those of docs/train_on_your_data.md and of the inferencers."""
    for file, texts in (
        (
            'integration/test_own_data.py',
            (
                'need at least one array to concatenate',
                'Target 5 is out of bounds',
                'index 255 is out of bounds',
                'Initialize dataset with `reduce_zero_label`',
            ),
        ),
        ('test_examples.py', ('Weights only load failed', 'HistoryBuffer')),
        ('test_checkpoints/test_downloads.py', ('has the unknown scheme',)),
    ):
        for text in texts:
            assert text in PAGE and text in (REPO / 'tests' / file).read_text(), text


def test_an_emitted_map_that_nobody_uses():
    """Its norm gets no gradient, which is what distributed training complains of."""
    pytest.importorskip('mmcv._ext')
    pytest.importorskip('mmdet')
    from mmdet.models import FPN

    model = ResT(TINY)
    neck = FPN([8, 16, 24, 32], 8, 3, start_level=1)
    sum(out.sum() for out in neck(model(torch.zeros(1, 3, 64, 64)))).backward()
    assert {name.split('.')[0] for name, param in model.named_parameters() if param.grad is None} == {'norm1'}


@pytest.mark.parametrize(
    'quoted',
    [
        'is not a setting of',
        'which is not registered in',
        'is not a default hook of mmengine',
        'train_cfg has no loop type',
        'Nothing reads',
        'No parameter name contains',
        'needs worker processes, and',
        'and the backbone takes',
        'visualizer.vis_backends has',
        'which cannot be downloaded',
        'cannot be resumed with this config',
        'A resumed run keeps the settings of its checkpoint',
        'The run is finished',
        'There is nothing left to train',
    ],
)
def test_refusals_before_a_run(quoted):
    """Each is provoked in tests/test_engine."""
    sources = (REPO / 'mmrest/engine').rglob('*.py')
    assert quoted in PAGE and any(quoted in path.read_text(encoding='utf-8') for path in sources)
