"""Validation of class names in dataset configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from .coco import shorten_names, write_classes
from .configs import dataset_class
from .reading import read_json
from .report import DataError


def known_classes(config: dict, scope: str | None = None) -> tuple[str, ...] | None:
    """Return the class names of a dataset config; None if they are read from the data, or are no names.

    Args:
        config (dict): Config of a dataset.
        scope (str, optional): Default scope, as in :func:`dataset_class`.
    """
    load = getattr(dataset_class(config, scope), '_load_metainfo', None)
    classes = (load(config.get('metainfo')) if load else {}).get('classes')
    return tuple(classes) if classes and not isinstance(classes, str) else None


def find_wrong_classes(datasets: Iterable[dict], scope: str | None = None) -> list[str]:
    """Return an error for each ``metainfo.classes`` that does not match its dataset type or folders.

    No annotations are read. Categories of COCO files are compared when these are loaded.

    Args:
        datasets (iterable[dict]): Configs of datasets.
        scope (str, optional): Default scope, as in :func:`dataset_class`.
    """
    found = []
    for config in datasets:
        kind = dataset_class(config, scope)
        given = (config.get('metainfo') or {}).get('classes') or config.get('classes')
        name = getattr(kind, '__name__', str(config.get('type')))
        if not given or not isinstance(kind, type):
            continue
        if isinstance(given, str):
            if not Path(given).is_file():  # mmengine reads the names from a file
                found.append(
                    f'metainfo.classes of {name} is the string {given!r}, not a list of names or a file with '
                    f'names. Did you mean ({given!r},)? For a single class, write a tuple with its comma.'
                )
            continue
        if hasattr(kind, 'get_label_map'):
            found += _compare_with_type(name, given, (getattr(kind, 'METAINFO', None) or {}).get('classes'))
        elif any(base.__name__ == 'CustomDataset' for base in kind.__mro__):
            found += _compare_with_folders(name, given, config)
    return list(dict.fromkeys(found))


def find_own_classes(config: dict, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the annotations of a COCO dataset whose config leaves the classes to the dataset type.

    Args:
        config (dict): Config of a dataset.
        known (sequence[str]): Classes of its type.

    Returns:
        tuple[str, ...]: Empty if the config has classes, or if the file has those of the type or cannot be read.
    """
    path = Path(config.get('data_root') or '', str(config.get('ann_file')))
    if (config.get('metainfo') or {}).get('classes') or path.suffix != '.json' or not path.is_file():
        return ()
    try:
        names = tuple(str(category['name']) for category in read_json(path)['categories'])
    except (DataError, KeyError, TypeError):  # reported when the annotations are checked
        return ()
    return () if set(known) <= set(names) else names


def find_mixed_classes(datasets: Iterable[dict], scope: str | None = None) -> list[str]:
    """Return an error if the datasets of a training have different lists of classes.

    Args:
        datasets (iterable[dict]): Configs of all training datasets.
        scope (str, optional): Default scope, as in :func:`dataset_class`.
    """
    named = [(config, known_classes(config, scope)) for config in datasets]
    named = [(config, classes) for config, classes in named if classes]
    for config, classes in named[1:]:
        if classes != named[0][1]:
            return [
                f'Training datasets have different classes: {_describe(named[0][0])} has '
                f'{shorten_names(named[0][1])}, {_describe(config)} has {shorten_names(classes)}. Labels are '
                'indices into metainfo.classes: set the same list in both.'
            ]
    return []


def _describe(config: dict) -> str:
    where = config.get('ann_file') or config.get('data_root') or (config.get('data_prefix') or {}).get('img_path') or ''
    return f'{config.get("type")} {where}'.strip()


def _compare_with_type(name: str, given: Sequence[str], known: Sequence[str] | None) -> list[str]:
    """Return an error if classes are not among those of a segmentation dataset type, which accepts subsets only."""
    missing = [one for one in given if known and one not in known]
    if not missing:
        return []
    return [
        f'{name} has no class {shorten_names(missing)} (metainfo.classes); it has {shorten_names(known)}. '
        'For other classes use type="BaseSegDataset".'
    ]


def _compare_with_folders(name: str, given: Sequence[str], config: dict) -> list[str]:
    """Return an error if classes do not match the folders of a classification dataset, sorted by name."""
    if config.get('ann_file') or not config.get('with_label', True):
        return []
    prefix = config.get('data_prefix') or config.get('split') or ''
    prefix = next(iter(prefix.values()), '') if isinstance(prefix, dict) else prefix
    folder = Path(config.get('data_root') or '') / prefix
    if not folder.is_dir():
        return []
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(folders) != len(given):
        return [
            f'{name} has the {len(given)} classes {shorten_names(given)} (metainfo.classes), and {folder} has '
            f'{len(folders)} folders: {shorten_names(folders)}.'
        ]
    shared = set(folders) & set(given)
    if shared and list(given) != folders:  # without a shared name, the classes are display names of the folders
        return [
            f'metainfo.classes of {name} is {shorten_names(given)}, but labels are the folders of {folder} in '
            f'alphabetical order: write metainfo = {write_classes(folders)}.'
        ]
    return []


def describe_xml_classes(config: dict) -> str:
    """Return the classes of an empty XML dataset and those in its files, for the error message.

    Args:
        config (dict): Config of the dataset.

    Returns:
        str: Empty for other datasets.
    """
    if not hasattr(dataset_class(config), 'sub_data_root'):
        return ''
    folder = Path(
        config.get('data_root') or '',
        (config.get('data_prefix') or {}).get('sub_data_root') or '',
        config.get('ann_subdir') or 'Annotations',
    )
    found: Counter = Counter()
    for path in sorted(folder.glob('*.xml'))[:200] if folder.is_dir() else ():
        try:
            found.update(node.findtext('name') or '' for node in ElementTree.parse(path).iter('object'))
        except (OSError, ElementTree.ParseError):
            continue
    return (
        f' The classes of the dataset (metainfo.classes) are {shorten_names(known_classes(config) or ())}; the '
        f'files in {folder} have {shorten_names(sorted(found)) or "none"}.'
    )
