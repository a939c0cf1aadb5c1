"""Registered types of a model, their settings, and channels between backbone and neck or heads."""

import pytest
from mmengine.registry import MODELS
from torch import nn

from mmrest.engine import UsageError
from mmrest.engine.data import check_consistency
from mmrest.engine.validation import validate
from mmrest.engine.validation.models import find_model_errors

# Framework, setting of the model, misspelled type, and the suggestion.
MISSPELLED = [
    ('mmdet', 'type', 'Retinanet', 'RetinaNet'),
    ('mmdet', 'backbone.type', 'Rest', 'ResT'),
    ('mmdet', 'backbone.type', 'Restv2', 'ResTv2'),
    ('mmdet', 'neck.type', 'PAFPM', 'PAFPN'),
    ('mmdet', 'bbox_head.type', 'RetinaHed', 'RetinaHead'),
    ('mmseg', 'decode_head.type', 'UperHead', 'UPerHead'),
    ('mmpretrain', 'head.type', 'LinearClsHed', 'LinearClsHead'),
]


@pytest.mark.parametrize('library, setting, kind, near', MISSPELLED)
def test_validate_misspelled_type_of_a_model_suggests_the_right_one(framework_config, library, setting, kind, near):
    with pytest.raises(UsageError) as error:
        validate(framework_config(library, {f'model.{setting}': kind}))
    expected = f"model.{setting} is '{kind}', which is not registered in models. Did you mean {near}?"
    assert str(error.value) == expected


def test_validate_model_without_mistakes_passes(framework_config, framework):
    assert not find_model_errors(framework_config(framework))


def test_validate_type_of_a_missing_library_is_left_to_the_runner(framework_config):
    assert not find_model_errors(framework_config('mmdet', {'model.backbone.type': 'no_such_library.ResNet'}))


def test_validate_misspelled_type_in_a_list_of_heads_names_its_number(framework_config):
    cfg = framework_config('mmdet')
    heads = [dict(type='Shared2FCBBoxHead'), dict(type='Shared2FCBoxHead')]
    cfg.model = dict(type='CascadeRCNN', backbone=cfg.model.backbone)
    cfg.model.roi_head = dict(type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, 1], bbox_head=heads)
    (message,) = find_model_errors(cfg)
    assert message.startswith('model.roi_head.bbox_head.1.type is ') and message.endswith('Shared2FCBBoxHead?')


@pytest.mark.parametrize(
    'library, setting, message',
    [
        ('mmdet', 'bbox_hed', 'model.bbox_hed is not a setting of RetinaNet. Did you mean bbox_head?'),
        (
            'mmdet',
            'backbone.out_indicse',
            'model.backbone.out_indicse is not a setting of ResT. Did you mean out_indices?',
        ),
        ('mmdet', 'neck.num_out', 'model.neck.num_out is not a setting of FPN. Did you mean num_outs?'),
        (
            'mmdet',
            'bbox_head.num_class',
            'model.bbox_head.num_class is not a setting of RetinaHead. Did you mean num_classes?',
        ),
        (
            'mmseg',
            'decode_head.pool_scale',
            'model.decode_head.pool_scale is not a setting of UPerHead. Did you mean pool_scales?',
        ),
        ('mmpretrain', 'head.topK', 'model.head.topK is not a setting of LinearClsHead. Did you mean topk?'),
    ],
)
def test_validate_misspelled_setting_of_a_model_suggests_the_right_one(framework_config, library, setting, message):
    with pytest.raises(UsageError) as error:
        validate(framework_config(library, {f'model.{setting}': 3}))
    assert str(error.value) == message


def test_validate_settings_that_a_class_reads_from_its_kwargs_pass(framework_config):
    @MODELS.register_module()
    class OwnHead(nn.Module):
        def __init__(self, num_classes, **kwargs):
            self.smoothing = kwargs.pop('smoothing', 0)
            super().__init__()

    cfg = framework_config('mmdet')
    try:
        cfg.model.bbox_head = dict(type='OwnHead', num_classes=3, smoothing=0.1)
        assert not find_model_errors(cfg)
        cfg.model.bbox_head.num_clases = 3
        (message,) = find_model_errors(cfg)
    finally:
        del MODELS.module_dict['OwnHead']
    assert message == 'model.bbox_head.num_clases is not a setting of OwnHead. Did you mean num_classes?'


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'neck.in_channels': [256, 512]},
            'model.neck.in_channels is [256, 512], but ResT gives [128, 256, 512] (out_indices (1, 2, 3)): '
            'set model.neck.in_channels=[128,256,512], or model.backbone.out_indices=[2,3].',
        ),
        (
            {'neck.in_channels': [256, 512, 1024]},
            'model.neck.in_channels is [256, 512, 1024], but ResT gives [128, 256, 512] (out_indices (1, 2, 3)): '
            'set model.neck.in_channels=[128,256,512].',
        ),
        (
            {'backbone.arch': 'base', 'backbone.out_indices': (0, -1)},
            'model.neck.in_channels is [128, 256, 512], but ResT gives [96, 768] (out_indices (0, 3)): '
            'set model.neck.in_channels=[96,768].',
        ),
        (
            {'backbone.type': 'ResTAblation', 'backbone.out_indices': (2, 3)},
            'model.neck.in_channels is [128, 256, 512], but ResTAblation gives [256, 512] (out_indices (2, 3)): '
            'set model.neck.in_channels=[256,512], or model.backbone.out_indices=[1,2,3].',
        ),
        ({'backbone.arch': 'smal'}, "model.backbone: Unknown arch 'smal'"),
        ({'backbone.out_indices': (1, 4)}, 'model.backbone: out_indices must be ascending stages between 0 and 3'),
    ],
)
def test_validate_neck_that_does_not_fit_the_backbone_raises(framework_config, options, message):
    cfg = framework_config('mmdet', {f'model.{key}': value for key, value in options.items()})
    with pytest.raises(UsageError) as error:
        validate(cfg)
    assert str(error.value).startswith(message) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        {'neck.in_channels': (128, 256, 512)},
        {'backbone.type': 'ResTv2', 'backbone.arch': 'large', 'neck.in_channels': [256, 512, 1024]},
        {'neck': dict(type='YOLOV3Neck', num_scales=3, in_channels=[512, 256, 128])},  # from coarse to fine
        {'backbone': dict(type='ResNet', depth=18), 'neck.in_channels': [1, 2]},  # of another library
    ],
)
def test_validate_channels_that_fit_or_are_unknown_pass(framework_config, options):
    for value in options.values():
        if isinstance(value, dict):
            value['_delete_'] = True
    assert not find_model_errors(framework_config('mmdet', {f'model.{key}': value for key, value in options.items()}))


def test_validate_exchanged_type_with_inherited_settings_says_how_to_drop_them(framework_config):
    cfg = framework_config('mmdet')
    cfg.model.backbone = dict(type='ResT', depth=50, style='pytorch')
    with pytest.raises(UsageError) as error:
        validate(cfg)
    message = str(error.value)
    assert message.startswith('model.backbone: depth and style are not settings of ResT. It takes arch, ')
    assert message.endswith(' If the config inherits them, add _delete_=True to model.backbone.')


def test_check_consistency_names_a_misspelled_head_rather_than_its_classes(framework_config):
    cfg = framework_config('mmdet')
    cfg.model.bbox_hed = dict(num_classes=cfg.model.bbox_head.num_classes)
    cfg.model.bbox_head.num_classes = 80
    with pytest.raises(UsageError, match='^model.bbox_hed is not a setting of RetinaNet. Did you mean bbox_head.$'):
        check_consistency(cfg, ('train',))


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'decode_head.in_channels': [96, 192, 384, 768]},
            'model.decode_head.in_channels is [96, 192, 384, 768] with in_index [0, 1, 2, 3], but ResT gives '
            '[64, 128, 256, 512] (out_indices (0, 1, 2, 3)): set model.decode_head.in_channels=[64,128,256,512].',
        ),
        (
            {'auxiliary_head.in_channels': 512, 'auxiliary_head.in_index': -2},
            'model.auxiliary_head.in_channels is 512 with in_index -2, but ResT gives [64, 128, 256, 512] '
            '(out_indices (0, 1, 2, 3)): set model.auxiliary_head.in_channels=256.',
        ),
        (
            {'auxiliary_head.in_index': 4},
            'model.auxiliary_head.in_index is 4, but ResT gives [64, 128, 256, 512] (out_indices (0, 1, 2, 3)): '
            'set model.auxiliary_head.in_index to positions from 0 to 3.',
        ),
    ],
)
def test_validate_head_that_does_not_fit_the_backbone_raises(framework_config, options, message):
    cfg = framework_config('mmseg', {f'model.{key}': value for key, value in options.items()})
    with pytest.raises(UsageError) as error:
        validate(cfg)
    assert str(error.value) == message
