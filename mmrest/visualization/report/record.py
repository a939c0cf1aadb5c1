"""Results of a test for its report, small for any number of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .matching import Pairs


@dataclass
class Picture:
    """Image with its annotations and predictions.

    Attributes:
        position (int): Place of the image in the dataset.
        name (str): Path of the image, or its place.
        text (str): How well it was predicted, in words.
        badness (float): Order of the images from good to bad.
        painted (list[tuple[str, bytes]]): Captions and JPEG files.
        fault (str): Reason why it could not be painted; empty if it was.
    """

    position: int
    name: str
    text: str = ''
    badness: float = 0.0
    painted: list[tuple[str, bytes]] = field(default_factory=list)
    fault: str = ''


@dataclass
class Timings:
    """Times of a test, of one process, in seconds.

    Attributes:
        model (list[float]): Of each batch: the model with its pre- and postprocessing.
        sizes (list[int]): Of each batch: number of images.
        loading (float): Between batches: waiting for data, and what other hooks do.
        report (float): Comparing and painting for the report.
        evaluation (float): Computing the metrics at the end.
        device (str): Name of the device of the model.
    """

    model: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    loading: float = 0.0
    report: float = 0.0
    evaluation: float = 0.0
    device: str = ''


@dataclass
class TestRecord:
    """Results of a test.

    Attributes:
        task (str): 'detection', 'segmentation' or 'classification'; empty before the first batch.
        classes (tuple[str]): Names of the classes.
        num_images (int): Number of images of the dataset.
        num_judged (int): Number of images that were compared with annotations.
        pairs (Counter): How often each pair (annotated class, predicted class) occurs, of objects, pixels or images.
        worst (list[Picture]): The images with the highest badness above 0, the worst one first.
        examples (list[Picture]): Images that are evenly spaced over the dataset.
        metrics (dict): Results of the evaluator.
        class_ap (dict): Of each kind of AP, the AP of each class by name, in [0, 1].
        format_only (bool): The evaluator writes results and compares nothing.
        processes (int): Number of processes.
        timings (Timings): Times of the first process.
        score_thr (float): Score from which detections count.
        iou_thr (float): IoU from which a detection covers an object.
        max_worst (int): Maximum number of ``worst``.
    """

    __test__ = False  # it is no test of pytest

    task: str = ''
    classes: tuple[str, ...] = ()
    num_images: int = 0
    num_judged: int = 0
    pairs: Pairs = field(default_factory=Counter)
    worst: list[Picture] = field(default_factory=list)
    examples: list[Picture] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    class_ap: dict[str, dict[str, float]] = field(default_factory=dict)
    format_only: bool = False
    processes: int = 1
    timings: Timings = field(default_factory=Timings)
    score_thr: float = 0.3
    iou_thr: float = 0.5
    max_worst: int = 10

    def is_among_worst(self, badness: float) -> bool:
        """Tell whether an image with this badness belongs to the worst ones so far."""
        return badness > 0 and (len(self.worst) < self.max_worst or badness > self.worst[-1].badness)

    def add_worst(self, pictures: Sequence[Picture]) -> None:
        """Add pictures, and keep the worst ones; of equally bad ones, the first in the dataset."""
        ordered = sorted([*self.worst, *pictures], key=lambda picture: (-picture.badness, picture.position))
        self.worst = ordered[: self.max_worst]

    def merge(self, others: Sequence[TestRecord]) -> None:
        """Add the images of other processes."""
        for other in others:
            self.task = self.task or other.task  # of a process without an image
            self.num_judged += other.num_judged
            self.pairs.update(other.pairs)
            self.add_worst(other.worst)
            self.examples += other.examples
        self.examples.sort(key=lambda picture: picture.position)

    def name_of(self, label: int) -> str:
        """Return the name of a class, or its number if it has none."""
        return self.classes[label] if 0 <= label < len(self.classes) else f'class {label}'
