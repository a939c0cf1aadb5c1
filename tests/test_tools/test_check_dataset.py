"""tools/check_dataset.py: errors of the config beside those of the data."""

import pytest


def test_check_dataset_reports_a_model_that_cannot_be_built_and_missing_weights(run, repo, shapes, capsys):
    pytest.importorskip('mmdet')
    config = repo / 'configs/retinanet_rest_lite_fpn_shapes.py'
    weights = 'model.backbone.init_cfg.type=Pretrained', 'model.backbone.init_cfg.checkpoint=none.pth'
    options = ['--cfg-options', f'data_root={shapes}', 'model.neck.in_channels=[1,2,3]', *weights]
    with pytest.raises(SystemExit) as status:
        run('check_dataset', config, '--phase', 'train', 'val', *options)
    out = capsys.readouterr().out
    assert status.value.code == 1 and '13 images read' in out
    assert 'error: model that cannot be built (1)\n    model.neck.in_channels is [1, 2, 3], but ResT gives ' in out
    assert 'error: weights that do not exist (1)\n    model.backbone.init_cfg.checkpoint is none.pth, ' in out
    with pytest.raises(SystemExit) as status:
        run('check_dataset', config, '--phase', 'val', *options, 'model.neck.in_channels=[128,256,512]')
    assert status.value.code == 0 and '0 errors' in capsys.readouterr().out  # validation does not load init_cfg
