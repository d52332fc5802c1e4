"""Which class of which public layout becomes which of the five chest labels, as a table."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from csss.foundation.errors import Unprocessable
from training.archive import LABEL_SEPARATOR, Sample
from training.datasets.dataset import Dataset, Layout
from training.datasets.kermany import BACTERIAL, NORMAL, VIRAL
from training.datasets.nih import NIH_FINDINGS, NO_FINDING

CHEST_LABELS = ("COVID", "Lung_Opacity", "NIH_MERGED", "Normal", "Viral_Pneumonia")
_ITSELF: Mapping[str, str | None] = {label: label for label in CHEST_LABELS}

# None: known and left out on purpose. A class that is not in its table is refused.
FIVE_LABELS: Mapping[Layout, Mapping[str, str | None]] = {
    Layout.MANIFEST: _ITSELF,
    Layout.CLASS_FOLDERS: _ITSELF,
    Layout.COVID19_RADIOGRAPHY: {
        "COVID": "COVID",
        "Lung_Opacity": "Lung_Opacity",
        "Normal": "Normal",
        "Viral Pneumonia": "Viral_Pneumonia",
    },
    Layout.KERMANY: {NORMAL: "Normal", BACTERIAL: "Lung_Opacity", VIRAL: "Viral_Pneumonia"},
    # NIH_MERGED of our archive holds the reports that name pneumonia; the other findings have no label of ours.
    Layout.NIH14: dict.fromkeys(NIH_FINDINGS, None) | {NO_FINDING: "Normal", "Pneumonia": "NIH_MERGED"},
    Layout.CAD_CARDIAC: {},
}


class UnknownClass(Unprocessable):
    """A class of the data has no place among the five labels."""

    code = "unknown-class"


def to_five_labels(dataset: Dataset) -> Dataset:
    """The pictures that have one of the five labels, relabelled; what was left out stands in the notes.

    Raises UnknownClass for a class that the layout's table does not name, or where a picture would get two labels.
    """
    table = FIVE_LABELS[dataset.layout]
    unknown = sorted(set(dataset.labels) - set(table))
    if unknown:
        raise UnknownClass(
            f"These classes have no place among the five chest labels: {', '.join(unknown)}. "
            f"The table for {dataset.layout} knows {', '.join(sorted(table)) or 'none'}; nothing is guessed."
        )
    kept, left_out = [], Counter[str]()
    for sample in dataset.samples:
        label = _mapped(sample, table)
        if label is None:
            left_out[sample.label] += 1
        else:
            kept.append(replace(sample, label=label))
    notes = tuple(f"Left out, no label among the five: {count} x {label}." for label, count in left_out.most_common())
    return replace(dataset, samples=tuple(kept), notes=dataset.notes + notes)


def _mapped(sample: Sample, table: Mapping[str, str | None]) -> str | None:
    labels = sorted({mapped for label in sample.labels if (mapped := table[label]) is not None})
    if len(labels) > 1:
        raise UnknownClass(f"{sample.file} would get the labels {LABEL_SEPARATOR.join(labels)}; one is needed.")
    return labels[0] if labels else None
