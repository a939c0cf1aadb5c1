"""Faults of every kind for the drawn shapes: what is damaged, what training says, what the check finds."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
from PIL import Image


@dataclass
class Fault:
    """A kind of fault.

    Args:
        damage: Called with the folder of a copy of the data set.
        found: Kind under which the check of data sets reports it.
        says: Pattern of the message that training stops with; None where it goes on.
    """

    damage: Callable[[Path], None]
    found: str
    says: str | None = None


def edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """A damage of the annotations of training images."""

    def damage(root: Path) -> None:
        path = root / 'annotations/instances_train.json'
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def image_of(root: Path) -> Path:
    """An image with objects, the third."""
    content = json.loads((root / 'annotations/instances_train.json').read_text())
    used = {annotation['image_id'] for annotation in content['annotations']}
    return root / 'images/train' / [image for image in content['images'] if image['id'] in used][2]['file_name']


def label_of(root: Path) -> Path:
    return root / 'labels/train' / image_of(root).name


def rewrite(which: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        which(root).write_bytes(change(which(root).read_bytes()))

    return damage


def repaint(
    which: Callable[[Path], Path], change: Callable[[Image.Image], Image.Image], suffix: str = '.png', **options
) -> Callable[[Path], None]:
    """A damage that stores an image in another way; the annotations follow its name."""

    def damage(root: Path) -> None:
        path = which(root)
        with Image.open(path) as image:
            changed = change(image)
        path.unlink()
        changed.save(path.with_suffix(suffix), **options)
        edit(
            lambda content: [
                image.update(file_name=Path(image['file_name']).with_suffix(suffix).name)
                for image in content['images']
                if image['file_name'] == path.name
            ]
        )(root)

    return damage


def jpeg_cut(root: Path) -> None:
    path = image_of(root)
    repaint(image_of, lambda image: image.convert('RGB'), '.jpg')(root)
    whole = path.with_suffix('.jpg').read_bytes()
    path.with_suffix('.jpg').write_bytes(whole[: int(0.7 * len(whole))])


def sixteen_bits(factor: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: Image.fromarray((np.asarray(image.convert('L')).astype(np.uint16) * factor))


def values(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """A damage of the values of a label map."""
    return repaint(label_of, lambda image: Image.fromarray(change(np.asarray(image).copy())))


def poke(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(labels: np.ndarray) -> np.ndarray:
        labels[3, 5] = value
        return labels

    return change


def first(key: str, **values) -> Callable[[Path], None]:
    return edit(lambda content: content[key][0].update(values))


def drop(key: str, field: str) -> Callable[[Path], None]:
    return edit(lambda content: content[key][0].pop(field))


def every(key: str, change: Callable[[dict], Any]) -> Callable[[Path], None]:
    return edit(lambda content: [change(entry) for entry in content[key]])


def again(key: str) -> Callable[[Path], None]:
    return edit(lambda content: content[key].append(dict(content[key][0])))


def whole_file(text: str) -> Callable[[Path], None]:
    return lambda root: (root / 'annotations/instances_train.json').write_text(text)


def lone(**values) -> Callable[[Path], None]:
    """The only annotation of an image."""

    def change(content: dict) -> None:
        image = content['annotations'][0]['image_id']
        content['annotations'] = [content['annotations'][0]] + [
            annotation for annotation in content['annotations'] if annotation['image_id'] != image
        ]
        content['annotations'][0].update(values)

    return edit(change)


IMAGES = dict(
    jpeg_cut=Fault(jpeg_cut, 'image cannot be read', 'jpg cannot be decoded'),
    png_cut=Fault(rewrite(image_of, lambda content: content[:-300]), 'image cannot be read', 'png cannot be decoded'),
    png_one_byte_short=Fault(
        rewrite(image_of, lambda content: content[: len(content) // 2]), 'image cannot be read', 'png cannot be decoded'
    ),
    empty_image=Fault(rewrite(image_of, lambda content: b''), 'image cannot be read', 'png is empty'),
    zeros=Fault(rewrite(image_of, lambda content: bytes(len(content))), 'image cannot be read', 'png cannot be loaded'),
    text=Fault(
        rewrite(image_of, lambda content: b'see the other folder'),
        'image cannot be read',
        'png cannot be loaded: it is not an image',
    ),
    missing_image=Fault(lambda root: image_of(root).unlink(), 'image is missing', 'there is no such file'),
    grayscale=Fault(repaint(image_of, lambda image: image.convert('L')), 'grayscale image (converted to BGR)'),
    rgba=Fault(repaint(image_of, lambda image: image.convert('RGBA')), 'image with transparency (ignored)'),
    sixteen_bits=Fault(repaint(image_of, sixteen_bits(257)), '16-bit image (converted to 8 bits)'),
    cmyk=Fault(repaint(image_of, lambda image: image.convert('CMYK'), '.jpg'), 'CMYK image (converted to RGB)'),
)
ANNOTATIONS = dict(
    wrong_size=Fault(
        edit(lambda content: [image.update(width=image['width'] + 9) for image in content['images']]),
        'image size differs from the annotations',
        'has 64x64 px, and its annotations are for 73x64',
    ),
    no_annotations=Fault(
        edit(lambda content: content.update(annotations=[])), 'dataset without images', 'No image to use'
    ),
    image_without_objects=Fault(
        edit(lambda content: None),  # drawn so
        'image without objects (left out of training, or a negative)',
    ),
    crowds_alone=Fault(lone(iscrowd=1), 'image with crowds alone (ignored regions, no objects)'),
    box_outside=Fault(first('annotations', bbox=[500, 500, 9, 9]), 'box outside the image (skipped)'),
    box_partly_outside=Fault(first('annotations', bbox=[-9, -9, 30, 30]), 'box partly outside the image'),
    box_without_area=Fault(first('annotations', bbox=[9, 9, 0, 9]), 'box without area, or under 1 px (skipped)'),
    annotation_of_no_image=Fault(first('annotations', image_id=99999), 'annotation of no image (skipped)'),
    wrong_category=Fault(first('annotations', category_id=77), 'wrong category id', 'wrong category id'),
    category_as_text=Fault(first('annotations', category_id='1'), 'wrong category id', 'wrong category id'),
    annotation_twice=Fault(again('annotations'), 'duplicate annotation id', 'duplicate annotation id'),
    image_twice=Fault(again('images'), 'duplicate image id', 'duplicate image id'),
    category_twice=Fault(again('categories'), 'duplicate category id', 'duplicate category id'),
    image_id_as_text=Fault(first('images', id='1'), 'id is not an integer', 'id is not an integer'),
    box_as_text=Fault(first('annotations', bbox=['1', '2', '30', '40']), 'box is not four numbers', 'box is not four'),
    box_of_three=Fault(first('annotations', bbox=[1, 2, 3]), 'box is not four numbers', 'box is not four'),
    box_nan=Fault(first('annotations', bbox=[1, math.nan, 30, 30]), 'box is not four numbers', 'box is not four'),
    box_infinite=Fault(first('annotations', bbox=[1, 1, math.inf, 30]), 'box is not four numbers', 'box is not four'),
    box_huge=Fault(first('annotations', bbox=[1, 1, 10**400, 30]), 'box is not four numbers', 'box is not four'),
    no_box=Fault(drop('annotations', 'bbox'), 'box is not four numbers', 'box is not four'),
    no_area=Fault(drop('annotations', 'area'), 'area is missing', "area is missing (?s:.*)a\\['area'\\] = "),
    area_null=Fault(first('annotations', area=None), 'area is not a number', 'area is not a number'),
    no_width=Fault(drop('images', 'width'), 'image size is not a positive integer', 'image size is not a positive'),
    width_nan=Fault(first('images', width=math.nan), 'image size is not a positive integer', 'image size is not'),
    name_outside=Fault(
        first('images', file_name='../../../etc/passwd'), 'file name leaves the image folder', 'file name leaves'
    ),
    name_missing=Fault(drop('images', 'file_name'), 'file name is not a string', 'file name is not a string'),
    class_missing=Fault(
        edit(lambda content: content['categories'][1].update(name='circle')),
        'class without a category',
        'square of the classes in the config .* is not in the file',
    ),
    other_order=Fault(
        edit(lambda content: content['categories'].reverse()),
        'classes in another order than the categories',
        r"write metainfo = dict\(classes=\('star', 'triangle', 'square', 'disc'\)\)",
    ),
    two_swapped=Fault(
        edit(lambda content: content['categories'].insert(0, content['categories'].pop(1))),
        'classes in another order than the categories',
        "classes=.'square', 'disc', 'triangle', 'star'",
    ),
    no_iscrowd=Fault(
        every('annotations', lambda annotation: annotation.pop('iscrowd')), 'iscrowd is missing or null (read as 0)'
    ),
    null_iscrowd=Fault(first('annotations', iscrowd=None), 'iscrowd is missing or null (read as 0)'),
    iscrowd_as_text=Fault(first('annotations', iscrowd='no'), 'iscrowd is neither 0 nor 1', 'neither 0 nor 1'),
    iscrowd_of_two=Fault(first('annotations', iscrowd=2), 'iscrowd is neither 0 nor 1', 'neither 0 nor 1'),
    all_crowds=Fault(
        every('annotations', lambda annotation: annotation.update(iscrowd=1)),
        'nothing to train on',
        'nothing to train on',
    ),
    not_json=Fault(whole_file('{"images": ['), 'annotation file cannot be read', 'is not a valid JSON file'),
    nested=Fault(whole_file('[' * 100000), 'annotation file cannot be read', 'is not a valid JSON file'),
    not_utf8=Fault(
        lambda root: (root / 'annotations/instances_train.json').write_bytes(b'\xff\xfe\x00'),
        'annotation file cannot be read',
        'is not a valid JSON file',
    ),
    a_list=Fault(whole_file('[]'), 'not COCO annotations', 'not COCO annotations'),
    no_images=Fault(
        whole_file('{"annotations": [], "categories": []}'), 'not COCO annotations', 'not COCO annotations'
    ),
)
LABELS = dict(
    out_of_range=Fault(values(poke(9)), 'label map with invalid labels', 'has the values 9: there are 5'),
    above_255=Fault(repaint(label_of, sixteen_bits(257)), 'label map with invalid labels', 'values above 255'),
    other_size=Fault(
        values(lambda labels: labels[:50]),
        'label map of another size than its image',
        'has 64x50 px, and its image 64x64',
    ),
    rgb=Fault(repaint(label_of, lambda image: image.convert('RGB')), 'label map with several channels', '3 channels'),
    missing_map=Fault(lambda root: label_of(root).unlink(), 'label map is missing', 'there is no such file'),
    map_cut=Fault(rewrite(label_of, lambda content: content[:-30]), 'label map cannot be read', 'cannot be decoded'),
    empty_map=Fault(rewrite(label_of, lambda content: b''), 'label map cannot be read', 'is empty'),
    map_of_text=Fault(rewrite(label_of, lambda content: b'none'), 'label map cannot be read', 'cannot be loaded'),
    all_ignored=Fault(values(lambda labels: np.full_like(labels, 255)), 'label map without any class (ignored)'),
    image_cut=Fault(IMAGES['png_cut'].damage, 'image cannot be read', 'cannot be decoded'),
    image_missing_too=Fault(
        lambda root: shutil.rmtree(root / 'images/train') or (root / 'images/train').mkdir(),
        'dataset without images',
        'No image to use',
    ),
)
