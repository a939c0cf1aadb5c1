"""Contact sheets: pictures in rows, each with a line of text below it."""

from __future__ import annotations

import numpy as np

from .painting import load_font

MARGIN, CAPTION = 8, 26


def contact_sheet(tiles: list[tuple[np.ndarray, str]], width: int = 360) -> np.ndarray:
    """Arrange pictures in rows of four, each with a caption.

    Args:
        tiles (list[tuple[np.ndarray, str]]): Pictures (H, W, 3) uint8 in RGB with their captions, of which the first
            48 characters are shown.
        width (int): Longer side of the scaled pictures in pixels.

    Returns:
        np.ndarray: (H, W, 3) uint8 in RGB.
    """
    from PIL import Image, ImageDraw

    columns = max(min(4, len(tiles)), 1)
    scaled = []
    for picture, _ in tiles:
        factor = width / max(picture.shape[:2])
        shape = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
        scaled.append(Image.fromarray(picture).resize(shape))
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    heights = [max(scaled[i].height for i in row) + CAPTION for row in rows]
    sheet = Image.new('RGB', (columns * (width + MARGIN) + MARGIN, sum(heights) + MARGIN), 'white')
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for row, height in zip(rows, heights):
        for column, i in enumerate(row):
            x = MARGIN + column * (width + MARGIN)
            sheet.paste(scaled[i], (x, y))
            # On one line, as further lines would cover the next picture.
            caption = ' '.join(tiles[i][1].split())[:48]
            draw.text((x, y + scaled[i].height + 3), caption, fill=(40, 40, 40), font=load_font(13))
        y += height
    return np.asarray(sheet)
