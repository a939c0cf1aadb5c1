"""The files of docs/examples that use no OpenMMLab: plain PyTorch in one and two processes, torchvision and timm."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, free_port, need_torchvision, run_process
from helpers.docs_blocks import blocks_for
from helpers.small_projects import EXAMPLES, copy_example

from mmrest import ResT, ResTv2
from mmrest.datasets import CLASSES

ODD = (97, 71)  # height and width that no stride divides


@pytest.fixture
def load_example(monkeypatch):
    """A function that imports an example from docs/examples until the end of the test."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(EXAMPLES)
        module = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
        return module

    return load


# Nothing of OpenMMLab but mmengine, and no torchvision.
ALONE = """
import runpy, sys
for name in ('torchvision', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
    sys.modules[name] = None
runpy.run_path(sys.argv.pop(1), run_name='__main__')
"""
TWO_STEPS = ('--num-steps', 2, '--shape', 32, 32, '--batch-size', 2)


def test_plain_pytorch_example_runs_without_openmmlab(tmp_path):
    script = copy_example('plain_pytorch', tmp_path)
    out = run_process([sys.executable, '-c', ALONE, script, *TWO_STEPS], tmp_path)
    losses = [float(line.split()[-1]) for line in out.splitlines() if line.startswith('step')]
    assert len(losses) == 2
    assert [loss for loss in losses if not 0 < loss < 10] == []
    assert '% of the pixels of 16 new images are right' in out
    assert torch.load(tmp_path / 'plain_pytorch.pth', weights_only=True)


def train_on_two_batches(example: ModuleType, num_steps: int) -> tuple[dict, list[float]]:
    """Train the plain PyTorch example on the mean gradient of two batches, without processes.

    Returns:
        tuple: The parameters in the end, and the losses of the first batch.
    """
    torch.manual_seed(0)
    replicas = [example.Segmentor(1 + len(CLASSES), arch='lite', drop_path_rate=0.1) for _ in range(2)]
    replicas[1].load_state_dict(replicas[0].state_dict())
    optimizers = [torch.optim.AdamW(replica.parameters(), lr=1e-3, weight_decay=0.05) for replica in replicas]
    schedules = [torch.optim.lr_scheduler.OneCycleLR(one, 1e-3, total_steps=num_steps) for one in optimizers]
    random = [torch.manual_seed(rank).get_state() for rank in range(2)]
    losses = []
    for step in range(num_steps):
        for rank, replica in enumerate(replicas):
            images, labels = example.batch(4 * step + 2 * rank, 2, (32, 32))
            torch.set_rng_state(random[rank])
            loss = F.cross_entropy(replica(images), labels, torch.tensor([0.1, 1, 1, 1, 1]))
            random[rank] = torch.get_rng_state()
            replica.zero_grad()
            loss.backward()
            losses += [loss.item()] * (rank == 0)
        for first, second in zip(*(replica.parameters() for replica in replicas)):
            first.grad = second.grad = (first.grad + second.grad) / 2
        for one in (*optimizers, *schedules):
            one.step()
    return dict(replicas[0].named_parameters()), losses


def test_plain_pytorch_example_in_two_processes_averages_their_gradients(load_example, tmp_path, monkeypatch):
    script = copy_example('plain_pytorch', tmp_path)
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', 2, '--master-port', free_port()]
    out = run_process([*launcher, script, *TWO_STEPS], tmp_path)
    printed = [float(loss) for loss in re.findall(r'^step \d: loss (\S+)$', out, re.MULTILINE)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes, since Adam's first steps amplify rounding
    try:
        expected, losses = train_on_two_batches(load_example('plain_pytorch'), 2)
    finally:
        torch.set_num_threads(threads)
    assert printed == pytest.approx(losses, abs=2e-3)
    saved = torch.load(tmp_path / 'plain_pytorch.pth', weights_only=True)
    different = [name for name, value in expected.items() if (saved[name] - value).abs().mean() > 1e-5]
    assert different == []


@pytest.mark.parametrize('name, channels', [('retinanet', TINY['embed_dims'][1:]), ('mask_rcnn', TINY['embed_dims'])])
def test_torchvision_detector_trains_and_predicts_at_odd_size(load_example, name, channels):
    need_torchvision()
    example = load_example('torchvision_detection')
    small = dict(
        box_batch_size_per_image=8, box_score_thresh=0.0, rpn_post_nms_top_n_train=20, rpn_post_nms_top_n_test=20
    )
    options = dict(min_size=64, score_thresh=0.0) if name == 'retinanet' else dict(min_size=64, **small)
    model = getattr(example, name)(1 + len(CLASSES), dict(arch=TINY), **options)
    body = model.backbone.body
    assert body.out_channels == channels
    maps = model.backbone(torch.rand(1, 3, *ODD))
    assert [tuple(map.shape) for map in maps.values()] == [
        (1, 256, -(-ODD[0] // stride), -(-ODD[1] // stride)) for stride in (*body.out_strides, 64, 128)
    ][:5]

    images, targets = zip(*(example.sample(index, ODD) for index in (1, 2)))
    assert len(targets[0]['boxes']) == 0 < len(targets[1]['boxes'])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    before = body.stem.conv1.weight.clone()
    losses = model.train()(images, targets)
    assert all(0 < loss < 20 for loss in losses.values()), losses
    sum(losses.values()).backward()
    # The InstanceNorm after the mixing of heads subtracts the bias of that convolution again.
    parameters = [(key, value) for key, value in body.named_parameters() if not key.endswith('transform_conv.bias')]
    assert [key for key, value in parameters if value.grad is None or not value.grad.any()] == []
    optimizer.step()
    assert (body.stem.conv1.weight != before).all()

    with torch.no_grad():
        (found,) = model.eval()([images[1]])
    boxes = found['boxes']
    assert len(boxes) > 0 and boxes.shape == (len(found['scores']), 4)
    assert (boxes >= 0).all() and (boxes[:, 2] <= ODD[1]).all() and (boxes[:, 3] <= ODD[0]).all()
    assert found['labels'].max() <= len(CLASSES)
    assert name == 'retinanet' or found['masks'].shape == (len(boxes), 1, *ODD)


def test_boxes_of_torchvision_example_enclose_the_masks(load_example):
    need_torchvision()
    _, target = load_example('torchvision_detection').sample(3, ODD)
    for (left, top, right, bottom), mask in zip(target['boxes'].int().tolist(), target['masks']):
        inside = mask[top:bottom, left:right]
        assert inside.sum() == mask.sum() > 0
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (1, 3), (-1,), 2])
def test_timm_example_has_the_interface_of_a_model_of_timm(load_example, out_indices):
    timm = pytest.importorskip('timm')
    load_example('timm_features')
    image = torch.rand(1, 4, *ODD)
    model = timm.create_model('restv2_tiny', features_only=True, out_indices=out_indices, in_chans=4).eval()
    # Another pyramid with strides 4 to 32, and timm's own.
    other = timm.create_model('pvt_v2_b0', features_only=True, out_indices=out_indices, in_chans=4).eval()
    assert model.feature_info.reduction() == other.feature_info.reduction()
    with torch.no_grad():
        maps, others = model(image), other(image)
    assert type(maps) is type(others) is list
    assert [map.shape[2:] for map in maps] == [map.shape[2:] for map in others]
    assert [map.shape[1] for map in maps] == model.feature_info.channels()


def test_timm_example_registers_all_architectures(load_example):
    timm = pytest.importorskip('timm')
    load_example('timm_features')
    names = {f'{cls.__name__.lower()}_{arch}' for cls in (ResT, ResTv2) for arch in cls.archs}
    assert {*timm.list_models('rest_*'), *timm.list_models('restv2_*')} == names and len(names) == 8


def test_timm_example_loads_pretrained_weights_from_a_file(load_example, tmp_path):
    timm = pytest.importorskip('timm')
    load_example('timm_features')
    torch.manual_seed(1)
    published = ResT('lite').state_dict()
    torch.save(published, tmp_path / 'rest_lite.pth')
    overlay = dict(file=str(tmp_path / 'rest_lite.pth'))
    model = timm.create_model('rest_lite', pretrained=True, pretrained_cfg_overlay=overlay, features_only=True)
    torch.testing.assert_close(model.backbone.state_dict(), published, rtol=0, atol=0)
    with pytest.raises(ValueError, match='pass pretrained_cfg_overlay'):
        timm.create_model('rest_lite', pretrained=True, features_only=True)
    with pytest.raises(ValueError, match='pass features_only=True'):
        timm.create_model('rest_lite')


def test_other_libraries_of_the_docs_give_the_stated_channels(monkeypatch):
    pytest.importorskip('timm')
    need_torchvision()
    monkeypatch.syspath_prepend(EXAMPLES)
    blocks = blocks_for('tests/integration/test_pytorch_examples.py', 'docs/use_in_your_project.md')
    python = [block for block in blocks if block.language == 'python']
    assert len(python) == 2
    for block in python:
        exec(compile(block.text, str(block), 'exec'), {})
