"""Spectra of maps made by hand, and of models."""

import pytest
import torch

from mmrest.analysis.fourier import ATTENTION, BRANCH, COMBINED, NUM_FREQUENCIES, OUTPUT, measure_fourier
from mmrest.analysis.fourier import relative_log_amplitude as amplitude
from mmrest.apis import find_images, init_model


@pytest.mark.parametrize('shape', [(8, 8), (9, 7), (6, 16), (2, 2)])
def test_amplitude_of_one_bright_pixel_is_flat(shape):
    maps = torch.zeros(1, 1, *shape)
    maps[..., 0, 0] = 1
    values = amplitude(maps)
    torch.testing.assert_close(values, torch.zeros(NUM_FREQUENCIES, dtype=values.dtype), rtol=0, atol=1e-9)


def test_amplitude_of_smooth_map_falls_and_of_checkerboard_rises():
    checkerboard = 1.0 - 2 * (torch.arange(16)[:, None] + torch.arange(16)).remainder(2)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), size=(16, 16), mode='bicubic')
    assert amplitude(smooth)[-1] < -3 < 3 < amplitude(checkerboard[None, None] + 0.01)[-1]


def test_amplitude_at_pi_equals_the_fourier_transform():
    maps = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    spectrum = (torch.fft.fft2(maps).abs() + 1e-6).log().mean(dim=(0, 1))
    assert amplitude(maps)[-1] == pytest.approx((spectrum[4, 6] - spectrum[0, 0]).item())
    assert amplitude(maps)[0] == 0


@pytest.mark.parametrize('shape', [(1, 1), (1, 9)])
def test_amplitude_of_map_without_diagonal_is_none(shape):
    assert amplitude(torch.rand(1, 2, *shape)) is None


def test_fourier_of_both_backbones_lists_every_block(configs, shapes):
    images = find_images(shapes / 'images/val', 1)
    blocks = ['stage1.0', 'stage2.0', 'stage3.0', 'stage3.1', 'stage4.0']
    v1 = measure_fourier(init_model(str(configs['ResT']), 'none'), images)
    assert {kind: list(found) for kind, found in v1.items()} == {ATTENTION: blocks, OUTPUT: blocks}
    v2 = measure_fourier(init_model(str(configs['ResTv2']), 'none'), images)
    assert {kind: list(found) for kind, found in v2.items()} == dict.fromkeys(
        (ATTENTION, BRANCH, COMBINED, OUTPUT), blocks
    )


def test_fourier_of_windows_has_only_the_output(configs, shapes):
    loaded = init_model(str(configs['ResTv2']), 'none', {'model.backbone.style': 'win'})
    assert set(measure_fourier(loaded, find_images(shapes / 'images/val', 1))) == {OUTPUT}


def test_fourier_of_another_backbone_takes_its_outputs(configs, shapes, tmp_path):
    (tmp_path / 'resnet.py').write_text(
        f"_base_ = '{configs['ResT']}'\n"
        + """
model = dict(backbone=dict(_delete_=True, type='ResNet', depth=18, out_indices=(1, 2, 3)),
             neck=dict(in_channels=[128, 256, 512]))
"""
    )
    found = measure_fourier(init_model(str(tmp_path / 'resnet.py'), 'none'), find_images(shapes, 1))
    assert {kind: list(names) for kind, names in found.items()} == {OUTPUT: ['output 1', 'output 2', 'output 3']}
