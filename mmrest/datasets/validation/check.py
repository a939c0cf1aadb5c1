"""Check of every file of a dataset before training, using the loading code of a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from ...utils.progress import Progress, no_progress
from ..images import IMAGE_SUFFIXES, find_other_suffixes
from .building import UnreadableError, dataset_errors, find_labels, is_coco, read_checked, with_coco_checks
from .configs import dataset_class, nested_datasets
from .consistency import find_inconsistencies
from .reading import disable_gc
from .report import DataError, Report
from .samples import LoadingPipeline, check_samples


def check_config(cfg: Config, phases: Sequence[str], report: Report, progress: Progress = no_progress) -> None:
    """Check the datasets of a config and their consistency with its heads and evaluators.

    Args:
        cfg (Config): Full config.
        phases (sequence[str]): Subset of 'train', 'val' and 'test' to check.
        report (Report): Collects the findings.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    for kind, messages in find_inconsistencies(cfg, phases):
        for message in messages:
            report.error(kind, message)
    checked: list[dict] = []
    for phase in phases:
        shown: list[dict[str, bool]] = []
        for config, pipeline in nested_datasets(cfg.get(f'{phase}_dataloader')):
            config = deepcopy({**config, 'pipeline': pipeline})
            if config not in checked:  # most configs test on the validation data
                checked.append(config)
                shown.append(_check_dataset(deepcopy(config), report, progress))
        if phase == 'train' and all(shown):  # otherwise a dataset could not be loaded
            for name in {name: True for each in shown for name in each}:
                if not any(each.get(name) for each in shown):
                    report.warn('class that no training image shows', name)


def _check_dataset(config: dict, report: Report, progress: Progress) -> dict[str, bool]:
    """Check a dataset, and return for each of its classes if an image shows it; empty if that is unknown."""
    kind = dataset_class(config)
    where = f'{getattr(kind, "__name__", config["type"])} in {config.get("data_root") or config.get("data_prefix")}'
    num_errors, num_images = report.num_errors, report.checked.get('images', 0)

    def is_explained() -> bool:
        # An error among the annotations may be why none of the images can be used.
        return report.num_errors > num_errors and report.checked.get('images', 0) > num_images

    try:
        with dataset_errors([config]), disable_gc():
            dataset = DATASETS.build(with_coco_checks(config, report, progress))
            if hasattr(dataset, 'full_init'):  # not done yet with lazy_init=True
                dataset.full_init()
    except UnreadableError:
        return {}
    except DataError as error:
        if not is_explained():
            report.error('dataset without images', where, str(error))
        return {}
    except Exception as error:  # dataset classes of other libraries may raise anything
        if report.num_errors == num_errors:  # otherwise the cause is reported already
            report.error('dataset cannot be loaded', where, f'{type(error).__name__}: {error}')
        return {}
    if not len(dataset):
        if not is_explained():
            report.error('dataset without images', where)
        return {}
    for path in find_other_suffixes(dataset):
        report.warn(f'image whose name does not end with {dataset.img_suffix} (skipped)', str(path))
    if hasattr(getattr(dataset, 'pipeline', None), 'transforms'):
        dataset.pipeline = LoadingPipeline(dataset.pipeline.transforms, find_labels(dataset), is_coco(config))
    return _find_shown_classes(dataset, check_samples(dataset, report, progress))


def _find_shown_classes(dataset: Any, labels: set[int]) -> dict[str, bool]:
    """Return for each class of a dataset if an image shows it; empty for datasets of other kinds.

    Args:
        dataset: Dataset of mmdet or mmpretrain, which knows the classes of an image, or of mmseg.
        labels (set[int]): Labels in its label maps.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    if not labels and hasattr(dataset, 'get_cat_ids'):
        with suppress(AttributeError, KeyError, NotImplementedError):  # annotations of another kind, such as captions
            labels = {label for index in range(len(dataset)) for label in dataset.get_cat_ids(index)}
    return {str(name): label in labels for label, name in enumerate(classes)} if labels else {}


class _FileDataset(BaseDataset):
    """Dataset of given samples and transforms."""

    def __init__(self, samples: list[dict], transforms: list, labels: tuple[int, int] | None = None) -> None:
        self.samples = samples
        super().__init__(pipeline=[], serialize_data=False)
        self.pipeline = LoadingPipeline(transforms, labels)

    def load_data_list(self) -> list[dict]:
        """Return the samples."""
        return self.samples


def check_coco_files(
    ann_file: str | Path,
    folder: str | Path,
    report: Report,
    classes: Sequence[str] | None = None,
    masks: bool = True,
    progress: Progress = no_progress,
    evaluated: bool = True,
) -> None:
    """Check COCO annotations and their images, loaded as in mmdet's configs.

    Args:
        ann_file (str | Path): JSON file.
        folder (str | Path): Image folder.
        report (Report): Collects the findings.
        classes (sequence[str], optional): Class names of the dataset.
        masks (bool): Check segmentations.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
        evaluated (bool): As in :func:`~.coco.check_coco`.
    """
    from mmcv.transforms import LoadImageFromFile

    try:
        content = read_checked(ann_file, masks, tuple(classes or ()) or None, evaluated, report, progress)
    except UnreadableError:
        return
    samples = [
        dict(img_path=str(Path(folder) / image['file_name']), width=image['width'], height=image['height'])
        for image in content['images']
    ]
    check_samples(_FileDataset(samples, [LoadImageFromFile()]), report, progress)


def check_label_maps(
    pairs: Sequence[tuple[Path, Path]],
    num_classes: int,
    report: Report,
    ignore_index: int = 255,
    reduce_zero_label: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Check images and their label maps, loaded as in mmseg's configs.

    Args:
        pairs (sequence[tuple[Path, Path]]): Image and label map.
        num_classes (int): Number of classes; labels are 0 to ``num_classes - 1``.
        report (Report): Collects the findings.
        ignore_index (int): Label of ignored pixels.
        reduce_zero_label (bool): Ignore label 0 and make 1 the first class, as in ADE20K.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
    """
    from mmcv.transforms import LoadAnnotations, LoadImageFromFile

    class LoadLabels(LoadAnnotations):
        def transform(self, results: dict) -> dict:
            """Load a label map, with ``reduce_zero_label`` if requested."""
            results = super().transform(results)
            if reduce_zero_label:
                labels = results['gt_seg_map'].copy()
                rest = (labels != 0) & (labels != ignore_index)
                labels[rest] -= 1
                labels[results['gt_seg_map'] == 0] = ignore_index
                results['gt_seg_map'] = labels
            return results

    LoadLabels.__module__ = LoadAnnotations.__module__  # counts as a stock transform: label maps must fit 8 bits
    load = LoadLabels(with_bbox=False, with_label=False, with_seg=True, imdecode_backend='pillow')
    samples = [dict(img_path=str(image), seg_map_path=str(labels)) for image, labels in pairs]
    check_samples(_FileDataset(samples, [LoadImageFromFile(), load], (num_classes, ignore_index)), report, progress)


def pair_label_maps(images: str | Path, maps: str | Path, report: Report) -> list[tuple[Path, Path]]:
    """Pair the images of a folder with the label maps of the same names; report label maps without an image."""

    def listed(folder: Path) -> dict[Path, Path]:
        return {
            path.relative_to(folder).with_suffix(''): path
            for path in sorted(folder.rglob('*'))
            if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
        }

    images, maps = Path(images), Path(maps)
    found, labels = listed(images), listed(maps)
    for name in labels.keys() - found.keys():
        report.warn('label map without an image (skipped)', str(labels[name]))
    return [(path, labels.get(name, maps / f'{name}.png')) for name, path in found.items()]
