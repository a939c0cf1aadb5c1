"""Canvas that draws boxes, masks, label maps and names on pictures of any size.

It stands in for the Visualizer of mmengine and its subclasses in mmdet and mmseg, which take 4 to 22 times as long, do
not enlarge small images, let names cover each other, and darken the ignored pixels of a label map.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache
from pathlib import Path
from typing import Any, Sequence

import numpy as np

Color = tuple[int, ...]  # RGB in [0, 255]
# Pictures with a shorter longer side, in pixels, are enlarged, as names would cover them.
MIN_SIDE = 480


class Canvas:
    """Picture to draw on.

    Names are drawn last, so that no box or mask covers them, and are placed so that they overlap as little as possible.

    Args:
        image (np.ndarray): As :func:`as_picture` takes it. Small images are enlarged by a whole factor; coordinates,
            masks and label maps are always given in pixels of the original image.
    """

    def __init__(self, image: np.ndarray) -> None:
        import cv2

        height, width = image.shape[:2]
        self.size = (height, width)
        self.scale = max(-(-MIN_SIDE // max(height, width, 1)), 1)
        shape = (width * self.scale, height * self.scale)
        self.image = as_picture(image)
        if self.scale > 1:
            self.image = cv2.resize(self.image, shape, interpolation=cv2.INTER_CUBIC)
        longer = max(shape)
        self.font_size = round(0.008 * longer + 9)
        self.line_width = max(round(longer / 450), 2)
        self._names: list[tuple[list[tuple[float, float]], str, Color]] = []

    def draw_mask(self, mask: np.ndarray, color: Color, alpha: float = 0.45) -> None:
        """Tint a region (H, W), true inside, and draw its outline."""
        import cv2

        mask = self._enlarged(mask.astype(np.uint8))
        inside = mask.astype(bool)
        self.image[inside] = np.rint(self.image[inside] * (1 - alpha) + np.multiply(color, alpha)).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(self.image, outline, -1, tuple(map(int, color)), max(self.line_width // 2, 1), cv2.LINE_AA)

    def draw_label_map(
        self, labels: np.ndarray, classes: Sequence[str], colors: Sequence[Color], alpha: float = 0.55
    ) -> None:
        """Tint every class in its color, and name it once in the middle of its largest connected region.

        Args:
            labels (np.ndarray): (H, W) integers; pixels whose label is no index of ``classes`` stay unchanged.
            classes (Sequence[str]): Names of the classes.
            colors (Sequence[Color]): Colors of the classes.
            alpha (float): Opacity of the tint.
        """
        import cv2

        for label in np.unique(labels):
            if not 0 <= label < len(classes):
                continue
            mask = self._enlarged((labels == label).astype(np.uint8))
            inside = mask.astype(bool)
            tint = np.multiply(colors[label], alpha)
            self.image[inside] = np.rint(self.image[inside] * (1 - alpha) + tint).astype(np.uint8)
            _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            # With a border of zeros, so that names keep a distance from the edge of the picture.
            piece = np.pad((pieces == largest).astype(np.uint8), 1)
            depth = cv2.distanceTransform(piece, cv2.DIST_L2, 3)[1:-1, 1:-1]
            if depth.max() < 0.6 * self.font_size:  # a sliver
                continue
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            width, height = self._text_size(classes[label])
            places = [(x - width / 2, y - height / 2 + step * height) for step in (0, -1.1, 1.1, -2.2, 2.2)]
            self._names.append((places, classes[label], colors[label]))

    def draw_box(self, box: Sequence[float], color: Color, name: str = '', dashed: bool = False) -> None:
        """Draw a box (x1, y1, x2, y2), in pixels of the image, with a name next to it."""
        import cv2

        limits = (self.image.shape[1] - 1, self.image.shape[0] - 1) * 2
        x1, y1, x2, y2 = (int(min(max(round(float(v) * self.scale), 0), limit)) for v, limit in zip(box, limits))
        for width, paint in ((self.line_width + 2, (255, 255, 255)), (self.line_width, tuple(map(int, color)))):
            corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
            for start, end in zip(corners, corners[1:]):
                for a, b in _dashes(start, end, 4 * self.line_width) if dashed else [(start, end)]:
                    cv2.line(self.image, a, b, paint, width)
        if name:
            width, height = self._text_size(name)
            edge = self.line_width
            above, below = y1 - height - edge, y2 + edge
            places = [
                (x1 - edge / 2, above),
                (x1 - edge / 2, below),
                (x1 + edge, y1 + edge),
                (x2 - width + edge / 2, above),
                (x1 + edge, y2 - height - edge),
            ]
            self._names.append((places, name, color))

    def draw_lines(self, lines: Sequence[str], color: Color = (20, 20, 20)) -> None:
        """Write lines of text in the upper left corner."""
        height = self._text_size('Ag')[1]
        for i, line in enumerate(lines):
            self._names.append(([(4, 4 + i * (height + 2))], line, color))

    def render(self) -> np.ndarray:
        """Return the picture with all names, (H, W, 3) uint8 in RGB."""
        from PIL import Image, ImageDraw

        picture = Image.fromarray(self.image)
        draw = ImageDraw.Draw(picture)
        font = load_font(self.font_size)
        taken: list[tuple[float, float, float, float]] = []
        for places, name, color in self._names:
            width, height = self._text_size(name)
            # Moved into the picture, however far away.
            boxes = [
                (x, y, x + width, y + height)
                for x, y in (
                    (min(max(x, 0), max(picture.width - width, 0)), min(max(y, 0), max(picture.height - height, 0)))
                    for x, y in places
                )
            ]
            covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
            box = boxes[int(np.argmin(covered))]
            taken.append(box)
            draw.rectangle(box, fill=tuple(map(int, color)))
            bright = np.dot(color, (0.299, 0.587, 0.114)) > 140
            middle = (box[1] + box[3]) / 2
            draw.text((box[0] + 3, middle), name, font=font, fill=(0, 0, 0) if bright else (255, 255, 255), anchor='lm')
        return np.asarray(picture)

    def _enlarged(self, mask: np.ndarray) -> np.ndarray:
        import cv2

        shape = (self.size[1] * self.scale, self.size[0] * self.scale)
        return mask if mask.shape[::-1] == shape else cv2.resize(mask, shape, interpolation=cv2.INTER_NEAREST)

    def _text_size(self, text: str) -> tuple[int, int]:
        """Return width and height of a name with its margin, in pixels."""
        font = load_font(self.font_size)
        return round(font.getlength(text)) + 7, sum(font.getmetrics()) + 2


def as_picture(image: np.ndarray) -> np.ndarray:
    """Convert an image to RGB of 8 bits, from its first three channels or else from its first one as gray.

    Args:
        image (np.ndarray): (H, W) or (H, W, C), BGR. Floats in [0, 1] are scaled to 255, other values in
            [0, 255] are kept, and any other range is stretched to [0, 255].

    Returns:
        np.ndarray: (H, W, 3) uint8, a copy.
    """
    image = image.reshape(*image.shape[:2], -1)
    image = image[..., 2::-1] if image.shape[-1] >= 3 else np.broadcast_to(image[..., :1], (*image.shape[:2], 3))
    if image.dtype != np.uint8:
        whole = np.issubdtype(image.dtype, np.integer)
        image = np.nan_to_num(image.astype(np.float64), posinf=0, neginf=0)
        low, high = image.min(initial=0), image.max(initial=0)
        if low < 0 or high > 255:  # 16 bits, or normalized
            low = image.min()
            image = (image - low) / max(high - low, 1e-6) * 255
        elif high <= 1 and not whole:
            image = image * 255
        image = np.rint(image).astype(np.uint8)
    return np.array(image, order='C')


def make_colors(number: int, given: Sequence[Sequence[int]] | None = None) -> list[Color]:
    """Return a color for each class: the given ones first, then ones that differ from their neighbors."""
    colors = [tuple(map(int, color)) for color in (given or ())][:number]
    for i in range(len(colors), number):
        rgb = colorsys.hsv_to_rgb((0.05 + i * 0.618034) % 1, (0.85, 0.6)[i % 2], (0.95, 0.75, 1.0)[i % 3])
        colors.append(tuple(round(255 * value) for value in rgb))
    return colors


@lru_cache(maxsize=8)
def load_font(size: int) -> Any:
    """Return a font of Pillow, DejaVu Sans from matplotlib, with the size in pixels."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf'), size)


def _dashes(start: tuple[int, int], end: tuple[int, int], length: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    distance = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    points = [
        tuple(round(s + (e - s) * min(t / max(distance, 1), 1)) for s, e in zip(start, end))
        for t in range(0, distance + length, length)
    ]
    return list(zip(points[::2], points[1::2]))


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the area of the intersection of two boxes."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
