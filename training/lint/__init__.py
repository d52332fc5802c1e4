"""Find what in labelled pictures, or in a table of figures, would make the figures of a model untrue."""

from dataclasses import dataclass
from pathlib import Path

from training.datasets import Dataset
from training.lint.classes import check_classes
from training.lint.duplicates import find_copies, judge_copies
from training.lint.finding import Finding, Severity
from training.lint.looks import look_at_all
from training.lint.masks import find_masks
from training.lint.people import check_people
from training.lint.quality import check_files
from training.lint.sources import check_sources
from training.lint.tables import Row, check_table, read_table

__all__ = ["Finding", "LintReport", "Severity", "lint_dataset", "lint_table"]


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was looked at, what the reader of the data had to say, and the outcome of every check."""

    data: str
    layout: str
    pictures: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity, in order."""
        return tuple(finding for finding in self.findings if finding.severity is severity)

    @property
    def is_serious(self) -> bool:
        """Whether something found would make figures untrue."""
        return bool(self.of(Severity.SERIOUS))

    @property
    def summary(self) -> str:
        """How many findings of each severity, in one line."""
        return ", ".join(f"{len(self.of(each))} {each}" for each in Severity)


def lint_table(path: Path) -> tuple[Row, ...]:
    """The rows of a table of figures; see `training.lint.tables`. Raises UnreadableDataset."""
    return read_table(path)


def lint_dataset(dataset: Dataset | None, table: tuple[Row, ...] = (), *, jobs: int = 2) -> LintReport:
    """Every check on the dataset (if given) and on the table (if it has rows). Decodes each picture once."""
    findings: list[Finding] = []
    if dataset is not None:
        looked = look_at_all(dataset, jobs=jobs)
        has_splits = any(sample.split for sample in dataset.samples)
        findings += [find_masks(looked), *judge_copies(find_copies(looked), has_splits=has_splits)]
        findings += check_people(dataset.samples)
        findings += [*check_sources(looked), *check_classes(dataset.samples), *check_files(looked)]
    if table:
        findings.append(check_table(table))
    if dataset is None:
        return LintReport("Only a table of figures was looked at", "none", 0, (), tuple(findings))
    return LintReport(str(dataset.path), dataset.layout, len(dataset.samples), dataset.notes, tuple(findings))
