"""Figures and numbers as files."""

import json

import cv2
import numpy as np
import torch

from mmrest.analysis.figures import new_figure, save_figure, save_numbers


def test_saved_figure_is_a_picture_of_its_size(tmp_path):
    figure, axes = new_figure(2, 3, width=2, height=1)
    picture = cv2.imread(str(save_figure(figure, tmp_path / 'new' / 'figure.png', dpi=50)))
    assert axes.shape == (2, 3) and picture.shape == (2 * 50, 3 * 2 * 50, 3)


def test_saved_numbers_of_any_kind_are_json(tmp_path):
    numbers = {1: np.float32(0.5), 'tensor': torch.tensor([1.0, float('nan')]), 'list': (1, 1 / 3, float('inf'))}
    path = save_numbers(numbers, tmp_path / 'new' / 'numbers.json')
    assert json.loads(path.read_text()) == {'1': 0.5, 'tensor': [1.0, None], 'list': [1, 0.333333, None]}
