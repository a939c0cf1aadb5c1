"""The configs for the authors' files: each fits its file, and tests as the code that the file comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import published_files as files
import pytest
import torch
from mmengine.registry import MODELS

from mmrest.backbones.rest import ARCHS as REST
from mmrest.backbones.restv2 import ARCHS as RESTV2
from mmrest.checkpoints import compare_state_dict
from mmrest.converters import convert

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from helpers.published_configs import CONFIGS, NAMES, build, parse, read  # noqa: E402

DETECTORS = [name for name in NAMES if name.endswith('_coco')]
SHAPES = dict(retinanet=files.retinanet_shapes, mask_rcnn=files.mask_rcnn_shapes, upernet=files.upernet_shapes)


def test_published_configs_are_those_of_the_files():
    expected = {f'rest_{arch}_224_in1k' for arch in REST}
    expected |= {f'restv2_{arch}_{size}_in1k' for arch in RESTV2 for size in (224, 384)}
    expected |= {f'{kind}_rest_{arch}_fpn_1x_coco' for kind in ('retinanet', 'mask_rcnn') for arch in ('small', 'base')}
    expected |= {f'mask_rcnn_restv2_{arch}_fpn_3x_coco' for arch in ('tiny', 'small', 'base')}
    expected |= {f'upernet_restv2_{arch}_512x512_160k_ade20k' for arch in ('tiny', 'small', 'base')}
    assert set(NAMES) == expected


def documented() -> dict[str, tuple[str, ...]]:
    """Figures that the documentation states, by config."""
    text = (CONFIGS.parents[1] / 'docs' / 'checkpoints.md').read_text()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    found = {
        row[1].strip('`').removesuffix('_3rdparty'): re.findall(r'\d+\.\d', row[3]) for row in rows if len(row) == 4
    }
    return {name: tuple(figures) for name, figures in found.items() if name in NAMES}


def test_published_configs_are_documented_with_metrics():
    assert sorted(documented()) == NAMES
    assert [name for name, metrics in documented().items() if not metrics] == []


def test_documented_metrics_equal_the_papers(external):
    tables = json.loads((external / 'spec' / 'paper_tables.json').read_text())
    for name, figures in documented().items():
        kind, version, arch = parse(name)
        key = f'{version}_{arch}'
        if kind == 'classifier':
            expected = [tables['imagenet_1k_top1'][key + ('_384' if '_384_' in name else '')]]
        elif kind == 'upernet':
            expected = tables['upernet_160k_ade20k_512'][key][:1]
        else:
            table = tables[f'{kind}_{name.split("_")[-2]}_coco']
            wanted = ('AP', 'box AP', 'mask AP')
            expected = [value for column, value in zip(table['columns'], table[key]) if column in wanted]
        assert [float(figure) for figure in figures] == expected, name


@pytest.mark.parametrize('name', NAMES)
def test_published_config_full_size_file_fills_the_model(name):
    """Nothing missing, nothing unexpected, every shape as it is; without values, which small models have tests for."""
    kind, version, arch = parse(name)
    settings = {'rest': REST, 'restv2': RESTV2}[version][arch]
    make_shapes = SHAPES.get(kind, files.classifier_shapes)
    conversion = convert({'model': files.fill(make_shapes(version, settings), device='meta')})
    assert (conversion.target, conversion.contents.arch) == (kind, arch) and not conversion.left_out
    cfg = read(name)
    assert cfg.model.backbone.arch == arch and cfg.custom_imports.imports == ['mmrest']
    report = compare_state_dict(build(cfg, 'meta'), conversion.state_dict)
    assert report.complete and not report.unexpected, str(report)
    assert report.fraction == 1
    # The other files do not fit.
    other = {'small': 'base', 'tiny': 'small'}.get(arch, 'small')
    settings = {'rest': REST, 'restv2': RESTV2}[version][other]
    conversion = convert({'model': files.fill(make_shapes(version, settings), device='meta')})
    report = compare_state_dict(build(read(name), 'meta'), conversion.state_dict)
    assert not report.complete or report.unexpected


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_config_has_detectron2_test_settings(name):
    kind, version, arch = parse(name)
    cfg = read(name)
    model = build(cfg)
    images = model.data_preprocessor
    mean, std = images.mean.flatten().tolist(), images.std.flatten().tolist()
    if version == 'rest':
        assert model.backbone.out_norm == 'trunk' and not images._channel_conversion
        assert mean == pytest.approx([103.53, 116.28, 123.675]) and std == [1, 1, 1]
    else:
        assert model.backbone.out_norm == 'branch' and images._channel_conversion
        assert mean == pytest.approx([123.675, 116.28, 103.53]) and std == pytest.approx([58.395, 57.12, 57.375])
    assert images.pad_size_divisor == 32 and cfg.test_dataloader.batch_size == 1

    dense = model.bbox_head if kind == 'retinanet' else model.rpn_head
    generator = dense.prior_generator
    assert generator.center_offset == 0 and generator.ratios.tolist() == [0.5, 1.0, 2.0]
    assert [stride[0] for stride in generator.strides] == [
        2**i for i in ((3, 4, 5, 6, 7) if kind == 'retinanet' else (2, 3, 4, 5, 6))
    ]
    areas = (generator.base_anchors[0][:, 2:] - generator.base_anchors[0][:, :2]).prod(dim=1).sqrt()
    sizes = sorted({round(area) for area in areas.tolist()})
    assert sizes == ([32, 40, 51] if kind == 'retinanet' else [32])
    assert tuple(dense.bbox_coder.stds) == (1, 1, 1, 1) and not dense.bbox_coder.add_ctr_clamp
    if kind == 'retinanet':
        assert model.backbone.out_indices == (1, 2, 3)
        assert model.neck.add_extra_convs == 'on_input' and model.neck.relu_before_extra_convs
        test = model.bbox_head.test_cfg
        assert (test.nms_pre, test.score_thr, test.max_per_img, test.min_bbox_size) == (1000, 0.05, 100, 0)
        assert test.nms == dict(type='nms', iou_threshold=0.5) and dense.num_classes == 80
    else:
        assert model.backbone.out_indices == (0, 1, 2, 3) and not model.neck.add_extra_convs
        rpn, rcnn = model.test_cfg.rpn, model.test_cfg.rcnn
        assert (rpn.nms_pre, rpn.max_per_img, rpn.min_bbox_size) == (1000, 1000, 0)
        assert rpn.nms == dict(type='nms', iou_threshold=0.7)
        assert (rcnn.score_thr, rcnn.max_per_img, rcnn.mask_thr_binary) == (0.05, 100, 0.5)
        assert rcnn.nms == dict(type='nms', iou_threshold=0.5)
        for extractor, size in ((model.roi_head.bbox_roi_extractor, 7), (model.roi_head.mask_roi_extractor, 14)):
            assert extractor.finest_scale == 56 and extractor.featmap_strides == [4, 8, 16, 32]
            for layer in extractor.roi_layers:
                assert (layer.output_size, layer.sampling_ratio, layer.aligned) == ((size, size), 0, True)
        assert tuple(model.roi_head.bbox_head.bbox_coder.stds) == (0.1, 0.1, 0.2, 0.2)
        assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 80
    metrics = ['bbox', 'segm'] if kind == 'mask_rcnn' else 'bbox'
    assert cfg.test_evaluator.metric == metrics and cfg.test_evaluator.ann_file.endswith('instances_val2017.json')
    assert cfg.test_dataloader.dataset.data_prefix.img == 'val2017/'


def load_golden(external: Path, name: str, monkeypatch):
    monkeypatch.syspath_prepend(str(external / 'golden'))
    golden = pytest.importorskip('golden')
    values, arrays = golden.load(external / 'golden' / f'{name}.json')
    image = torch.from_numpy(golden.image(values['seed'], values['image']))
    return golden, values, {key: torch.as_tensor(array) for key, array in arrays.items()}, image


@pytest.mark.parametrize(
    'name, config',
    [
        ('rest_lite-detectron2', 'mask_rcnn_rest_small_fpn_1x_coco'),
        ('restv2_tiny-detectron2', 'mask_rcnn_restv2_tiny_fpn_3x_coco'),
    ],
)
def test_converted_detector_features_equal_published_values(name, config, external, monkeypatch):
    golden, values, weights, image = load_golden(external, name, monkeypatch)
    version, arch = values['variant'].split('_')
    shapes = files.mask_rcnn_shapes(version, {'rest': REST, 'restv2': RESTV2}[version][arch], 2, 8, 8)
    heads = files.fill({key: shape for key, shape in shapes.items() if 'bottom_up' not in key})
    conversion = convert({**{f'backbone.bottom_up.{key}': value for key, value in weights.items()}, **heads})
    cfg = read(config)
    cfg.model.backbone.arch = arch
    model = MODELS.build(cfg.model.backbone).double().eval()
    inner = {
        key[len('backbone.') :]: value for key, value in conversion.state_dict.items() if key.startswith('backbone.')
    }
    model.load_state_dict(inner, strict=True)
    with torch.no_grad():
        for i, out in enumerate(model(image), start=1):
            assert golden.worst(values, f'stage{i}', out.numpy()) < 1e-9


@pytest.mark.parametrize('name', ['rest_lite', 'rest_base', 'restv2_tiny'])
def test_converted_classifier_logits_equal_published_values(name, external, monkeypatch):
    golden, values, weights, image = load_golden(external, f'{name}-classification', monkeypatch)
    conversion = convert({'model': weights})
    model = build(read(f'{name}_224_in1k')).double().eval()
    model.load_state_dict(conversion.state_dict, strict=True)
    with torch.no_grad():
        logits = model.head(model.extract_feat(image))
    assert golden.worst(values, 'logits', logits.numpy()) < 1e-9
