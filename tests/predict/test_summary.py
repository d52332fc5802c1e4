"""The summary for a reader, line by line, and the casebook that it comes from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from csss.inference.metrics import NO_LABEL, Cases, summarise
from csss.inference.read_files import FileError, FileReading
from csss.predict.casebook import Casebook
from csss.predict.labels import Truth
from csss.predict.summary import Report, in_words, to_document
from csss.predict.workers import read_here
from predict.pictures_given import make_pictures, make_plan

FOUR = Cases(
    labels=("calm", "wave"),
    truth=np.array([0, 0, 1, 1]),
    shares=np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [np.nan, np.nan]]),
    stated=np.array([0, NO_LABEL, 1, NO_LABEL]),
    refused=np.array([False, False, False, True]),
    source=np.array(["north", "north", "south", ""]),
    group=np.array(["p", "p", "q", "r"]),
    sets=np.array([[True, False], [True, True], [True, False], [False, False]]),
)


def report_of(cases: Cases, **more: object) -> Report:
    parts = {"refusals": {"not-this-kind": 1}, "unlabelled": (), "ambiguous": (), "missing": ()}
    return Report("tiny", "1", "f" * 64, "m.csv", None, summarise(cases, rounds=20), **parts | more)


def rows_of(text: str, first: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(first)]


def test_in_words_has_every_table() -> None:
    text = in_words(report_of(FOUR, missing=("9.png",)))
    assert text.splitlines()[:3] == [
        "tiny 1 measured against m.csv",
        "4 labelled pictures, 1 not answered (not-this-kind 1)",
        "Not measured: 0 files without a label, 0 ambiguous files, 1 labels without a file",
    ]
    assert rows_of(text, "accuracy ")[0][:2] == ["accuracy", "0.750"]
    assert rows_of(text, "share with a stated label")[0][5] == "0.500"
    assert rows_of(text, "accuracy of stated labels")[0][4] == "1.000"
    (calm, confused), (wave, unanswered) = rows_of(text, "calm"), rows_of(text, "wave")
    assert (calm[:3], calm[-3:]) == (["calm", "2", "1.000"], ["1.000", "1.000", "1.000"])
    assert (wave[:3], confused, unanswered) == (
        ["wave", "2", "0.500"],
        ["calm", "2", "0", "0"],
        ["wave", "0", "1", "1"],
    )
    assert rows_of(text, "north")[0] == ["north", "2", "0", "1.000", "1.000", "1.000", "0.250"]
    assert rows_of(text, "(not said)")[0][2:] == ["1", "1", "0.000", "0.000", "0.000", "n/a"]
    assert "Conformal sets of 3 answered pictures: 0.667 hold the truth (calm 1.000, wave 0.000)" in text
    assert text.endswith("Intervals: 20 resamplings of 3 patients or groups (seed 42).")


def test_in_words_leaves_out_what_was_not_given() -> None:
    one = Cases.answered_all(np.array([0]), np.array([[0.9, 0.1]]), ("calm", "wave"))
    text = in_words(report_of(one, refusals={}))
    assert text.splitlines()[1] == "1 labelled pictures, 0 not answered"
    assert ("Per source" in text, "Conformal" in text) == (False, False)
    assert text.endswith("No intervals: fewer than two patients or groups.")
    assert rows_of(text, "wave")[0] == ["wave", "0", "n/a", "1.000", "n/a", "n/a", "n/a"]


def test_to_document_names_every_figure() -> None:
    document = to_document(report_of(FOUR))
    figures = document["figures"]
    assert (figures["images"], figures["refused"], figures["accuracy"]) == (4, 1, 0.75)
    assert figures["confusion"] == [[2, 0, 0], [0, 1, 1]]
    assert figures["classes"][1]["sensitivity"] == 0.5
    assert document["sources"]["south"]["accuracy"] == 1.0
    assert document["intervals_95"]["accuracy"].keys() == {"low", "high"}
    assert (document["conformal"]["mean_size"], document["risk_coverage"][-1]) == (pytest.approx(4 / 3), [1.0, 0.25])
    assert [entry["images"] for entry in document["reliability"]] == [1, 1, 1]


def test_casebook_keeps_what_measuring_needs(tmp_path: Path) -> None:
    first, second, third = read_here(make_pictures(tmp_path / "in", 3), make_plan(tmp_path))
    sure = replace(first.prediction, label="storm", uncertain=False)
    unsure = replace(second.prediction, label="Uncertain", uncertain=True)
    book = Casebook(("calm", "wave", "storm"))
    book.add(Truth("", "wave", "s0", "g0", ""), replace(first, prediction=sure))
    book.add(Truth("", "wave", "s1", "g1", ""), replace(second, prediction=unsure))
    book.add(Truth("", "calm", "s2", "g2", ""), third)
    book.add(Truth("", "storm", "s", "g", ""), FileReading("x", None, None, None, FileError("blank", ""), ()))
    cases = book.cases()
    assert (cases.truth.tolist(), cases.refused.tolist()) == ([1, 1, 0, 2], [False, False, False, True])
    assert (cases.source.tolist(), cases.group.tolist()) == (["s0", "s1", "s2", "s"], ["g0", "g1", "g2", "g"])
    shares = [[share for _, share in reading.prediction.probabilities] for reading in (first, second, third)]
    np.testing.assert_array_equal(cases.shares[:3], shares)
    assert (cases.stated.tolist()[:2], cases.stated.tolist()[3]) == ([2, NO_LABEL], NO_LABEL)
    assert (cases.sets, book.refusals) == (None, {"blank": 1})


def test_casebook_keeps_conformal_sets_when_every_answer_has_one(tmp_path: Path) -> None:
    (reading,) = read_here(make_pictures(tmp_path / "in", 1), make_plan(tmp_path))
    with_set = replace(reading, prediction=replace(reading.prediction, conformal_set=("storm", "calm"), coverage=0.9))
    book, truth = Casebook(("calm", "wave", "storm")), Truth("", "calm", "", "", "")
    book.add(truth, with_set)
    book.add(truth, FileReading("x", None, None, None, FileError("blank", ""), ()))
    np.testing.assert_array_equal(book.cases().sets, [[True, False, True], [False, False, False]])
    book.add(truth, reading)
    assert book.cases().sets is None
