"""Report of the batch beside the learning rate."""

import pytest

from mmrest.engine.hooks import describe_batch


@pytest.mark.parametrize(
    'args, expected, fits',
    [
        (
            (1e-4, 16, 8, 2, 1, False),
            '16 images a step (8 processes x 2 images). The learning rate 0.0001 is made for 16.',
            True,
        ),
        (
            (1e-4, 16, 1, 2, 1, False),
            '2 images a step (1 process x 2 images). The learning rate 0.0001 is made for 16: '
            '1.25e-05 would fit (--auto-scale-lr).',
            False,
        ),
        (
            (1e-4, 16, 1, 2, 8, False),
            '16 images a step (1 process x 2 images x 8 accumulated batches). The learning rate 0.0001 is made for 16.',
            True,
        ),
        ((1e-4, 16, 1, 2, 2, False), 'is made for 16: 2.5e-05 would fit.', False),
        ((1e-4, 16, 1, 2, 1, True), 'is made for 16 and was scaled to 1.25e-05.', True),
        ((1e-4, 16, 1, 2, 2, True), 'was scaled to 1.25e-05, ignoring accumulation.', False),
    ],
)
def test_describe_batch_names_size_and_learning_rate(args, expected, fits):
    text, found = describe_batch(*args)
    assert expected in text and found == fits
