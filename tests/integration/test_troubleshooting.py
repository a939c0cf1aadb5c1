"""Messages quoted in docs/troubleshooting.md against those that are raised."""

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


def unknown_scheme(path: Path) -> None:
    load_pretrained(ResT(TINY), 'htps://host/file.pth')


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


def no_images(path: Path) -> None:
    from mmengine.dataset import BaseDataset

    path.with_suffix('.json').write_text('{"metainfo": {}, "data_list": []}')
    BaseDataset(str(path.with_suffix('.json')))


def label_too_high(path: Path) -> None:
    from mmseg.models import CrossEntropyLoss

    labels = torch.full((1, 2, 2), 5)
    CrossEntropyLoss()(torch.zeros(1, 5, 2, 2), labels, ignore_index=255)


def weighted_255(path: Path) -> None:
    from mmseg.models import CrossEntropyLoss

    if is_distributed('onedl-mmsegmentation'):
        pytest.skip("OneDL's fork leaves 255 out")
    labels = torch.full((1, 2, 2), 255)
    CrossEntropyLoss(class_weight=[1.0] * 5)(torch.zeros(1, 5, 2, 2), labels, ignore_index=255)


def reduced_twice(path: Path) -> None:
    import mmcv
    from mmseg.datasets.transforms import LoadAnnotations

    mmcv.imwrite(torch.zeros(2, 2, dtype=torch.uint8).numpy(), str(path.with_suffix('.png')))
    load = LoadAnnotations(reduce_zero_label=True)
    load(dict(seg_map_path=str(path.with_suffix('.png')), reduce_zero_label=False, seg_fields=[]))


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
        (unknown_scheme, RuntimeError, 'has the unknown scheme htps://', None),
        (web_page, RuntimeError, 'is a web page, not a checkpoint', None),
        (one_image, ValueError, 'Expected more than 1 value per channel when training', None),
        (bfloat16, RuntimeError, "not implemented for 'BFloat16'", 'mmcv._ext'),
        (amp, AssertionError, 'is only available training on gpu, npu, mlu or musa', None),
        (no_images, ValueError, 'need at least one array to concatenate', None),
        (label_too_high, IndexError, 'Target 5 is out of bounds', 'mmseg.models'),
        (weighted_255, IndexError, 'index 255 is out of bounds', 'mmseg.models'),
        (reduced_twice, AssertionError, 'Initialize dataset with `reduce_zero_label` as False', 'mmseg.datasets'),
    ],
)
def test_quoted_error_is_what_is_raised(provoke, error, quoted, library, tmp_path):
    if library:
        pytest.importorskip(library)
    with pytest.raises(error) as caught:
        provoke(tmp_path / 'file.pth')
    assert quoted in str(caught.value).replace('\\', '') and quoted in PAGE


def test_quoted_fpn_assertion_is_what_is_raised():
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
def test_quoted_import_error_is_known_to_the_doctor(quoted):
    assert quoted in PAGE and any(re.search(pattern, quoted) for pattern, *_ in doctor.KNOWN_ERRORS)


def test_quoted_mmcv_versions_are_those_mmdet_asks_for():
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
def test_quoted_log_message_is_in_its_library(module, quoted):
    package = pytest.importorskip(module.split('/')[0])
    assert quoted in PAGE and quoted in (Path(package.__file__).parents[1] / module).read_text()


def test_unused_output_leaves_its_norm_without_gradient():
    """A norm without a gradient is what distributed training complains of."""
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
def test_quoted_refusal_is_a_message_of_the_engine(quoted):
    """Each is raised by a test of tests/test_engine."""
    sources = (REPO / 'mmrest/engine').rglob('*.py')
    assert quoted in PAGE and any(quoted in path.read_text(encoding='utf-8') for path in sources)
