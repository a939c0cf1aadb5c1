"""Every file of a data set looked at ahead of training, as a run reads it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from ...utils.progress import Progress, no_progress
from ..images import IMAGE_SUFFIXES, find_other_suffixes
from .building import UnreadableError, dataset_errors, find_labels, is_coco, read_checked, with_coco_checks
from .classes import find_mixed_classes, find_wrong_classes
from .configs import dataset_class, nested_datasets
from .evaluators import find_wrong_evaluators
from .heads import find_wrong_heads
from .reading import gc_paused
from .report import DataError, Report
from .samples import LoadingPipeline, check_samples


def check_config(cfg: Config, phases: Sequence[str], report: Report, progress: Progress = no_progress) -> None:
    """Check the datasets of a config, its evaluators' annotations and its heads.

    Args:
        cfg (Config): As it is run; what it registers is imported.
        phases (sequence[str]): Those of 'train', 'val' and 'test' whose data are to be looked at.
        report (Report): Gets what is found.
        progress (callable): See :mod:`mmrest.utils.progress`.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    configs = [
        (config, pipeline) for phase in phases for config, pipeline in nested_datasets(cfg.get(f'{phase}_dataloader'))
    ]
    for wrong in find_wrong_heads(cfg.get('model'), [config for config, _ in configs]):
        report.error('head with another number of classes', wrong)
    for wrong in find_wrong_classes([config for config, _ in configs]):
        report.error('classes that the data do not have', wrong)
    if 'train' in phases:
        parts = [config for config, _ in nested_datasets(cfg.get('train_dataloader'))]
        for wrong in find_mixed_classes(parts):
            report.error('parts with other classes', wrong)
    for wrong in find_wrong_evaluators(cfg, phases):
        report.error('evaluator with other annotations than the dataset', wrong)
    done: list[dict] = []
    for config, pipeline in configs:
        config = deepcopy({**config, 'pipeline': pipeline})
        if config not in done:  # what is tested is most often what is validated with
            done.append(config)
            _check_dataset(deepcopy(config), report, progress)


def _check_dataset(config: dict, report: Report, progress: Progress) -> None:
    kind = dataset_class(config)
    where = f'{getattr(kind, "__name__", config["type"])} in {config.get("data_root") or config.get("data_prefix")}'
    errors = sum(found['count'] for found in report.errors.values())
    try:
        with dataset_errors([config]), gc_paused():
            dataset = DATASETS.build(with_coco_checks(config, report, progress))
            if hasattr(dataset, 'full_init'):  # with lazy_init=True it has loaded nothing yet
                dataset.full_init()
    except UnreadableError:
        return
    except DataError as error:
        report.error('data set without images', where, str(error))
        return
    except Exception as error:  # whatever a class of another library stumbles over
        if errors == sum(found['count'] for found in report.errors.values()):  # else that is why
            report.error('data set cannot be read', where, f'{type(error).__name__}: {error}')
        return
    if not len(dataset):
        report.error('data set without images', where)
        return
    for path in find_other_suffixes(dataset):
        report.warn(f'image whose name does not end with {dataset.img_suffix} (left out)', str(path))
    if hasattr(getattr(dataset, 'pipeline', None), 'transforms'):
        dataset.pipeline = LoadingPipeline(dataset.pipeline.transforms, find_labels(dataset), is_coco(config))
    check_samples(dataset, report, progress)


class _Files(BaseDataset):
    """Samples that are given, loaded by some transforms."""

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
    """Check COCO annotations and the images that they name, read as mmdet's configs do.

    Args:
        ann_file (str | Path): JSON file.
        folder (str | Path): Of the images.
        report (Report): Gets what is found.
        classes (sequence[str], optional): Names of the classes that the dataset is to have.
        masks (bool): Segmentations are used.
        progress (callable): See :mod:`mmrest.utils.progress`.
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
    check_samples(_Files(samples, [LoadImageFromFile()]), report, progress)


def check_label_maps(
    pairs: Sequence[tuple[Path, Path]],
    num_classes: int,
    report: Report,
    ignore_index: int = 255,
    reduce_zero_label: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Check images and their label maps, read as mmseg's configs do.

    Args:
        pairs (sequence[tuple[Path, Path]]): Image and label map.
        num_classes (int): Labels go from 0 to ``num_classes - 1``.
        report (Report): Gets what is found.
        ignore_index (int): The value of pixels to ignore.
        reduce_zero_label (bool): 0 is to be ignored, and 1 is the first class, as in ADE20K.
        progress (callable): See :mod:`mmrest.utils.progress`.
    """
    from mmcv.transforms import LoadAnnotations, LoadImageFromFile

    class LoadLabels(LoadAnnotations):
        def transform(self, results: dict) -> dict:
            """Load a label map, and make 0 the value to ignore if asked for."""
            results = super().transform(results)
            if reduce_zero_label:
                labels = results['gt_seg_map'].copy()
                rest = (labels != 0) & (labels != ignore_index)
                labels[rest] -= 1
                labels[results['gt_seg_map'] == 0] = ignore_index
                results['gt_seg_map'] = labels
            return results

    LoadLabels.__module__ = LoadAnnotations.__module__  # a stock transform: maps have to fit 8 bits
    load = LoadLabels(with_bbox=False, with_label=False, with_seg=True, imdecode_backend='pillow')
    samples = [dict(img_path=str(image), seg_map_path=str(labels)) for image, labels in pairs]
    check_samples(_Files(samples, [LoadImageFromFile(), load], (num_classes, ignore_index)), report, progress)


def pair_label_maps(images: str | Path, maps: str | Path, report: Report) -> list[tuple[Path, Path]]:
    """Images of a folder with the label maps of the same names; notes maps without an image."""

    def listed(folder: Path) -> dict[Path, Path]:
        return {
            path.relative_to(folder).with_suffix(''): path
            for path in sorted(folder.rglob('*'))
            if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
        }

    images, maps = Path(images), Path(maps)
    found, labels = listed(images), listed(maps)
    for name in labels.keys() - found.keys():
        report.warn('label map without an image (left out)', str(labels[name]))
    return [(path, labels.get(name, maps / f'{name}.png')) for name, path in found.items()]
