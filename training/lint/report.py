"""Write a lint report as Markdown that a clinician can read, and as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from training.lint import Finding, LintReport, Severity

_HEADINGS = {
    Severity.SERIOUS: "Serious: figures measured on this are not true",
    Severity.WARNING: "Warnings: figures may mislead",
    Severity.NOTE: "Worth knowing",
    Severity.SKIPPED: "Not checked",
    Severity.CLEAR: "Checked, nothing found",
}


def write_report(report: LintReport, out: Path | None) -> str:
    """The report as Markdown; also written to ``out`` with the same as JSON beside it, where ``out`` is given."""
    text = "\n".join(_lines(report)) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        facts = {"serious": report.is_serious} | asdict(report)
        out.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return text


def _lines(report: LintReport) -> list[str]:
    looked_at = f"{report.data}: {report.pictures} pictures, layout {report.layout}" if report.pictures else report.data
    lines = ["# Data report", "", looked_at + ".", "", "## Verdict", "", *_verdict(report), ""]
    if report.notes:
        lines += ["What the reader of the data says:", "", *(f"- {note}" for note in report.notes), ""]
    for severity, heading in _HEADINGS.items():
        findings = report.of(severity)
        if not findings:
            continue
        lines += [f"## {heading}", ""]
        for finding in findings:
            lines += _section(finding)
    return lines


def _verdict(report: LintReport) -> list[str]:
    serious, warnings = report.of(Severity.SERIOUS), report.of(Severity.WARNING)
    if serious:
        lines = ["Do not rely on figures from this without mending or stating the following:", ""]
        lines += [f"- {finding.title}" for finding in serious]
        if warnings:
            lines += ["", "Besides, figures may mislead for these reasons:", ""]
    elif warnings:
        lines = ["Nothing was found that makes figures untrue. They may mislead for these reasons:", ""]
    else:
        lines = ["Nothing was found that would make the figures of a model untrue."]
    lines += [f"- {finding.title}" for finding in warnings]
    if report.of(Severity.SKIPPED):
        names = ", ".join(finding.check for finding in report.of(Severity.SKIPPED))
        lines += ["", f"Not checked, see below why: {names}."]
    return lines


def _section(finding: Finding) -> list[str]:
    short = finding.severity in (Severity.CLEAR, Severity.SKIPPED)
    lines = (
        [f"- **{finding.check}**: {finding.title}", ""] if short else [f"### {finding.check}", "", finding.title, ""]
    )
    if finding.examples:
        of = f" (the first {len(finding.examples)} of {finding.count})" if finding.count > len(finding.examples) else ""
        lines += [f"Examples{of}:", "", *(f"- {_escape(example)}" for example in finding.examples), ""]
    if finding.table:
        heading, *rows = finding.table
        lines += [_row(heading), _row(("---",) * len(heading)), *map(_row, rows), ""]
    if finding.why:
        lines += [f"Why it matters: {finding.why}", ""]
    if finding.what_to_do:
        lines += [f"What to do: {finding.what_to_do}", ""]
    return lines


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Names of files and labels are data: they must not become Markdown or HTML."""
    for character in "\\|<>*_`[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
