"""Converted detectors compute what detectron2's definition says, in the models of the published configs."""

from importlib import import_module
from types import SimpleNamespace

import detectron2_heads as detectron2
import published_files as files
import pytest
import torch
from conftest import TINY
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from published_files import make

from mmrest.checkpoints import CheckpointError, compare_state_dict
from mmrest.converters.conversion import convert
from mmrest.converters.detectron2 import reorder_anchors

pytest.importorskip('mmdet')

CLASSES, CHANNELS, HIDDEN = 3, 16, 32
IMAGE = (61, 90)  # padded to 64 x 96
CONFIGS = {
    'rest': {'retinanet': 'retinanet_rest_small_fpn_1x_coco', 'mask_rcnn': 'mask_rcnn_rest_small_fpn_1x_coco'},
    'restv2': {'mask_rcnn': 'mask_rcnn_restv2_tiny_fpn_3x_coco'},
}
CASES = [('rest', 'retinanet'), ('rest', 'mask_rcnn'), ('restv2', 'mask_rcnn')]


def make_file(version: str, kind: str, arch: dict) -> dict:
    if kind == 'retinanet':
        return files.fill(files.retinanet_shapes(version, arch, CLASSES, CHANNELS))
    return files.fill(files.mask_rcnn_shapes(version, arch, CLASSES, CHANNELS, HIDDEN))


def build(version: str, kind: str, arch: dict, repo):
    """The model of the published config, with a small backbone and small heads."""
    cfg = Config.fromfile(repo / 'configs' / 'published' / f'{CONFIGS[version][kind]}_3rdparty.py').model
    cfg.backbone.arch = arch
    channels = list(arch['embed_dims'])
    cfg.neck.update(in_channels=channels[1:] if kind == 'retinanet' else channels, out_channels=CHANNELS)
    if kind == 'retinanet':
        cfg.bbox_head.update(in_channels=CHANNELS, feat_channels=CHANNELS, num_classes=CLASSES)
    else:
        cfg.rpn_head.update(in_channels=CHANNELS, feat_channels=CHANNELS)
        for extractor in (cfg.roi_head.bbox_roi_extractor, cfg.roi_head.mask_roi_extractor):
            extractor.out_channels = CHANNELS
        cfg.roi_head.bbox_head.update(in_channels=CHANNELS, fc_out_channels=HIDDEN, num_classes=CLASSES)
        cfg.roi_head.mask_head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS, num_classes=CLASSES)
    init_default_scope('mmdet')
    return MODELS.build(cfg)


def prepare(version: str) -> tuple[torch.Tensor, torch.Tensor]:
    """An image as it is read, BGR (3, H, W), and as detectron2 feeds it to the network, (1, 3, 64, 96)."""
    image = torch.randint(0, 256, (3, *IMAGE), dtype=torch.uint8)
    x = image.double()
    if version == 'restv2':
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        x = x.flip(0)
    else:
        mean, std = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
    x = (x - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(3, 1, 1)
    return image, torch.nn.functional.pad(x, (0, 96 - IMAGE[1], 0, 64 - IMAGE[0]))[None]


@pytest.fixture(scope='module')
def float64_boxes():
    """mmcv's suppression, which takes float32 only, with boxes of float64: it returns indices, and all else stays."""
    mmcv_nms = import_module('mmcv.ops.nms')
    real = mmcv_nms.ext_module
    single = SimpleNamespace(nms=lambda boxes, scores, **kwargs: real.nms(boxes.float(), scores.float(), **kwargs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmcv_nms, 'ext_module', single)
        yield


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope='module')
def converted(request, repo, float64_boxes):
    """Version and kind; tensors of the file; the converted model; maps of an image up to the pyramid by both."""
    torch.manual_seed(0)
    version, kind = request.param
    w = make_file(version, kind, TINY)
    model = build(version, kind, TINY, repo).double().eval()
    conversion = convert({'model': w})
    assert conversion.target == kind
    result = model.load_state_dict(conversion.state_dict, strict=False)
    assert not result.missing_keys and not result.unexpected_keys
    assert compare_state_dict(model, conversion.state_dict).complete

    from mmdet.structures import DetDataSample

    image, x = prepare(version)
    sample = DetDataSample(metainfo=dict(img_shape=IMAGE, ori_shape=IMAGE, scale_factor=(1.0, 1.0)))
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    torch.testing.assert_close(data['inputs'].double(), x, rtol=0, atol=1e-4)
    with torch.no_grad():
        # The backbone has tests of its own; its stages are 2 to 4 with RetinaNet.
        maps = dict(zip((3, 4, 5) if kind == 'retinanet' else (2, 3, 4, 5), model.backbone(x)))
        pyramid = detectron2.fpn(w, maps, kind == 'retinanet')
        ours = model.extract_feat(x)
    return SimpleNamespace(
        version=version, kind=kind, w=w, model=model, sample=data['data_samples'][0], x=x, pyramid=pyramid, ours=ours
    )


def assert_same(ours, theirs, tolerance=1e-9):
    """Compare in units of the standard deviation of what is expected."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(theirs.std().item(), 1e-9))


def flatten(x: torch.Tensor, values: int) -> torch.Tensor:
    """(1, A * values, H, W) to (H * W * A, values), as mmdet's heads do."""
    return x[0].permute(1, 2, 0).reshape(-1, values)


def match(level: int, shape, sizes, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """mmdet's anchors of a level, and for each the row of the same anchor in detectron2's order."""
    ours = generator.single_level_grid_priors(
        tuple(shape), generator.strides.index((2**level, 2**level)), dtype=torch.float32, device='cpu'
    ).double()
    theirs = detectron2.anchors(level, shape, sizes)
    distance = torch.cdist(ours, theirs)
    rows = distance.argmin(dim=1)
    assert distance.gather(1, rows[:, None]).max() < 1e-3 * max(sizes) and len(rows.unique()) == len(theirs)
    return ours, rows


@pytest.mark.parametrize('converted', CASES, indirect=True, ids='-'.join)
def test_converted_pyramid_equals_detectron2(converted):
    levels = list(converted.pyramid)
    assert levels == ([3, 4, 5, 6, 7] if converted.kind == 'retinanet' else [2, 3, 4, 5, 6])
    for ours, level in zip(converted.ours, levels):
        assert_same(ours, converted.pyramid[level])


@pytest.mark.parametrize('converted', CASES, indirect=True, ids='-'.join)
def test_converted_dense_head_equals_detectron2_at_every_anchor(converted):
    """Class logits and deltas of one anchor are the same, wherever it stands in the order; so are its boxes."""
    model, w = converted.model, converted.w
    head = model.bbox_head if converted.kind == 'retinanet' else model.rpn_head
    classes = CLASSES if converted.kind == 'retinanet' else 1
    logits, deltas = head(converted.ours)
    for i, (level, x) in enumerate(converted.pyramid.items()):
        if converted.kind == 'retinanet':
            sizes = detectron2.retinanet_sizes(level)
            expected_logits, expected_deltas = detectron2.retinanet_head(w, x, CLASSES)
        else:
            sizes = detectron2.rpn_sizes(level)
            expected_logits, expected_deltas = detectron2.rpn_head(w, x)
        anchors, rows = match(level, x.shape[-2:], sizes, head.prior_generator)
        # The orders differ, or the test would show little.
        assert (rows != torch.arange(len(rows))).any() == (converted.kind == 'retinanet')
        assert_same(flatten(logits[i], classes), expected_logits[0][rows])
        assert_same(flatten(deltas[i], 4), expected_deltas[0][rows])
        boxes = head.bbox_coder.decode(anchors, flatten(deltas[i], 4))
        assert_same(boxes, detectron2.decode(expected_deltas[0][rows], anchors)[:, 0])


@pytest.mark.parametrize('converted', [('rest', 'retinanet')], indirect=True, ids='-'.join)
def test_converted_retinanet_detections_equal_detectron2(converted):
    (result,) = converted.model.bbox_head.predict(converted.ours, [converted.sample], rescale=False)
    boxes, scores, classes = detectron2.retinanet_inference(
        converted.w, converted.pyramid, CLASSES, IMAGE, clip_first=True
    )
    assert len(result) == len(boxes) == 100
    assert_same(result.scores, scores)
    assert result.labels.tolist() == classes.tolist() and len(classes.unique()) == CLASSES
    # mmdet has its anchors in float32
    torch.testing.assert_close(result.bboxes, boxes, rtol=0, atol=1e-3, check_dtype=False)


MASK_RCNN = pytest.mark.parametrize('converted', CASES[1:], indirect=True, ids='-'.join)


@MASK_RCNN
def test_converted_rpn_proposals_equal_detectron2(converted):
    (result,) = converted.model.rpn_head.predict(converted.ours, [converted.sample], rescale=False)
    boxes, objectness = detectron2.proposals(converted.w, converted.pyramid, IMAGE)
    assert len(result) == len(boxes) > 50
    assert_same(result.scores, objectness.sigmoid())
    torch.testing.assert_close(result.bboxes, boxes, rtol=0, atol=1e-3, check_dtype=False)


@MASK_RCNN
def test_converted_roi_heads_equal_detectron2_on_given_regions(converted):
    """The same regions, pooled by each: class logits, deltas, boxes and masks."""
    head = converted.model.roi_head
    boxes = torch.tensor(
        [
            [3.0, 4.0, 40.5, 33.0],
            [0.0, 0.0, 89.0, 60.0],
            [50.2, 7.7, 55.1, 30.0],
            [-200.0, -300.0, 400.0, 300.0],
            [10.0, 10.0, 170.0, 240.0],
            [20.0, 20.0, 20.0, 30.0],
        ],
        dtype=torch.float64,
    )
    levels = {min(max(int(4 + torch.log2(((b[2] - b[0]) * (b[3] - b[1])).sqrt() / 224)), 2), 5) for b in boxes[:-1]}
    assert len(levels) > 2
    rois = torch.cat([torch.zeros(len(boxes), 1).double(), boxes], dim=1)
    out = head._bbox_forward(converted.ours, rois)
    pooled = detectron2.pool(converted.pyramid, boxes, 7)
    assert_same(out['bbox_feats'], pooled)
    logits, deltas = detectron2.box_head(converted.w, pooled)
    assert_same(out['cls_score'], logits)
    assert_same(out['bbox_pred'], deltas)
    decoded = head.bbox_head.bbox_coder.decode(boxes, out['bbox_pred']).reshape(len(boxes), -1, 4)
    assert_same(decoded, detectron2.decode(deltas, boxes, (10, 10, 5, 5)))
    masks = head._mask_forward(converted.ours, rois)['mask_preds']
    assert_same(masks, detectron2.mask_head(converted.w, detectron2.pool(converted.pyramid, boxes, 14)))


@MASK_RCNN
def test_converted_mask_rcnn_detections_equal_detectron2(converted):
    model = converted.model
    (found,) = model.rpn_head.predict(converted.ours, [converted.sample], rescale=False)
    (result,) = model.roi_head.predict_bbox(converted.ours, [converted.sample.metainfo], [found], model.test_cfg.rcnn)
    boxes, scores, classes, masks = detectron2.mask_rcnn_inference(converted.w, converted.pyramid, IMAGE)
    assert len(result) == len(boxes) > 20
    assert result.labels.tolist() == classes.tolist()
    # mmdet has its anchors in float32
    torch.testing.assert_close(result.scores, scores, rtol=0, atol=1e-5, check_dtype=False)
    torch.testing.assert_close(result.bboxes, boxes, rtol=0, atol=1e-3, check_dtype=False)
    rois = torch.cat([torch.zeros(len(boxes), 1).double(), boxes], dim=1)
    probabilities = model.roi_head._mask_forward(converted.ours, rois)['mask_preds'].sigmoid()
    assert_same(probabilities[torch.arange(len(boxes)), classes], masks)


def test_reorder_anchors_puts_ratios_before_sizes():
    """detectron2: sizes, then ratios; mmdet: ratios, then sizes. What belongs to one anchor stays together."""
    names = torch.tensor([[100 * size + 10 * ratio + i for i in range(4)] for size in range(3) for ratio in range(3)])
    expected = [100 * size + 10 * ratio + i for ratio in range(3) for size in range(3) for i in range(4)]
    assert reorder_anchors(names.flatten()).tolist() == expected
    assert reorder_anchors(names.reshape(36, 1, 1, 1)).flatten().tolist() == expected


@pytest.mark.parametrize(
    'version, mean, std',
    [
        ('rest', (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)),
        ('restv2', (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ],
)
def test_convert_pixel_statistics_are_compared_with_the_config(tiny, version, mean, std):
    state_dict = make('detectron2-mask_rcnn', version, tiny)
    state_dict['pixel_mean'] = torch.tensor(mean).view(3, 1, 1)
    state_dict['pixel_std'] = torch.tensor(std).view(3, 1, 1)
    conversion = convert(state_dict)
    assert 'the published config has the same' in str(conversion) and 'WARNING' not in str(conversion)
    assert conversion.left_out == ['pixel_mean', 'pixel_std']
    state_dict['pixel_std'] = torch.full((3, 1, 1), 2.0)
    assert 'WARNING: the published config has' in str(convert(state_dict))


@pytest.mark.parametrize(
    'layout, prefix', [('detectron2-retinanet', ''), ('detectron2-mask_rcnn', 'proposal_generator.')]
)
def test_convert_other_anchors_are_refused(tiny, layout, prefix):
    state_dict = make(layout, 'rest', tiny)
    octaves = (1, 2 ** (1 / 3), 2 ** (2 / 3)) if 'retinanet' in layout else (1,)
    keys = [f'{prefix}anchor_generator.cell_anchors.{i}' for i in range(5)]
    for i, key in enumerate(keys):
        sizes = [32 * 2**i * octave for octave in octaves]
        state_dict[key] = detectron2.anchors(3, (1, 1), sizes).float()
    assert convert(state_dict).left_out == keys
    for wrong in (state_dict[keys[1]] * 1.1, state_dict[keys[1]].flip(0), state_dict[keys[1]][:2]):
        with pytest.raises(CheckpointError, match='anchors .* are not the default ones of detectron2'):
            convert({**state_dict, keys[1]: wrong})
