"""Receptive fields of networks whose field is known."""

import pytest
import torch
from torch import nn

from mmrest.analysis.receptive_field import measure_receptive_field, smallest_area
from mmrest.apis import LoadedModel, init_model


class Backbone(nn.Module):
    """A 3x3 convolution, and two of them at stride 2, followed by a LayerNorm of channels."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(first)
        return first, nn.functional.layer_norm(second.movedim(1, -1), (4,)).movedim(-1, 1)


@pytest.fixture
def loaded():
    model = nn.Module()
    model.backbone = Backbone()
    model.data_preprocessor = lambda data, training: dict(inputs=torch.stack(data['inputs']))
    return LoadedModel('by hand', model, lambda _: dict(inputs=torch.rand(3, 20, 24)), 'mmdet')


def test_receptive_field_of_convolutions_is_their_window(loaded):
    fields = measure_receptive_field(loaded, ['a', 'b', 'c'], (16, 16))
    reached = {i: field.nonzero() for i, field in fields.items()}
    assert reached[0].min() == 7 and reached[0].max() == 9 and len(reached[0]) == 9
    # 4 (of 8) at stride 2 sees 7..9 of the first, and so 6..10 of the image.
    assert reached[1].min() == 6 and reached[1].max() == 10 and len(reached[1]) == 25


def test_receptive_field_equals_the_norm_of_the_jacobian(loaded):
    image = torch.rand(3, 16, 16)
    loaded.pipeline = lambda _: dict(inputs=image)
    jacobian = torch.autograd.functional.jacobian(lambda x: loaded.backbone(x)[1][0, :, 4, 4], image[None])
    expected = jacobian.square().sum(dim=(0, 1, 2)).sqrt()
    found = measure_receptive_field(loaded, ['image'] * 400, (16, 16))[1]
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=0.1 * expected.max().item())


def test_area_holding_a_share_counts_the_fewest_pixels():
    field = torch.zeros(10, 10)
    field[4, 4], field[5, 5] = 3, 1
    assert (
        smallest_area(field, 0.5) == 0.01 and smallest_area(field, 0.75) == 0.01 and smallest_area(field, 0.8) == 0.02
    )
    assert smallest_area(torch.ones(10, 10), 0.5) == pytest.approx(0.5)
    assert smallest_area(torch.zeros(3, 3), 0.5) != smallest_area(torch.zeros(3, 3), 0.5)  # nan


def test_receptive_field_of_a_detector_covers_every_output(configs, shapes):
    image = sorted((shapes / 'images/val').glob('*.png'))[0]
    fields = measure_receptive_field(init_model(str(configs['ResT']), 'none'), [image], (48, 64))
    assert {i: tuple(field.shape) for i, field in fields.items()} == dict.fromkeys((0, 1, 2), (48, 64))
    assert [i for i, field in fields.items() if not field.max() > 0] == []
