"""Ids of parametrized tests."""

import numpy as np
import pytest
import torch
from helpers.ids import MAX_LENGTH, pytest_make_parametrize_id


@pytest.mark.parametrize(
    'value, expected',
    [
        ((64, 96), '64x96'),
        (('a', True), 'a,True'),
        ((), 'empty'),
        ({}, 'default'),
        (dict(style='win', window_sizes=(8, 4)), 'style=win,window_sizes=8x4'),
        (torch.bfloat16, 'bfloat16'),
        (torch.nn.Linear, 'Linear'),
        (torch.nn.Linear(1, 1), 'Linear'),
        (np.zeros((2, 3), np.uint8), 'uint8[2x3]'),
        ('two\n lines', 'two-lines'),
        ('short', None),
        (0.5, None),
    ],
    ids=range(12),
)
def test_parametrize_id_of_a_value_is_a_word(value, expected):
    assert pytest_make_parametrize_id(None, value, 'value') == expected


def test_parametrize_id_of_a_long_text_is_cut():
    text = 'Unknown arch: choose from lite, small, base, large'
    assert pytest_make_parametrize_id(None, text, 'value') == 'Unknown-arch-choose-from-lite-small-base'
    assert len(pytest_make_parametrize_id(None, text, 'value')) <= MAX_LENGTH
