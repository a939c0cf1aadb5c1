"""Gray images to draw on, and how much of a picture has a color."""

import numpy as np

RED = (255, 0, 0)
BLUE = (0, 0, 255)


def gray_image(height=600, width=800):
    return np.full((height, width, 3), 128, np.uint8)


def color_share(picture, color):
    """Return the share of the pixels that have a color, up to 2 in each channel."""
    return (np.abs(picture.astype(int) - color).max(-1) < 3).mean()
