"""The export of the audit log cannot become a formula."""

import pytest

from csss.entrypoints.web.audit_pages import safe_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("x")'])
def test_cell_that_could_be_a_formula_is_made_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "report.issued", "2026-11-02T09:00:00+00:00", "a=b"])
def test_plain_cell_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text
