"""Read labelled pictures from our manifest form and from the public layouts, as one `Dataset`."""

from training.datasets.dataset import Dataset, Layout, Pictures
from training.datasets.mapping import FIVE_LABELS, UnknownClass, to_five_labels
from training.datasets.problems import UnreadableDataset
from training.datasets.read import read_dataset

__all__ = [
    "FIVE_LABELS",
    "Dataset",
    "Layout",
    "Pictures",
    "UnknownClass",
    "UnreadableDataset",
    "read_dataset",
    "to_five_labels",
]
