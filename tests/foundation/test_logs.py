"""Log lines: JSON, and no patient in them."""

import io
import json
import logging
import sys

import pytest

from csss.foundation.logs import ALLOWED_FIELDS, JsonFormatter, log, set_up_logs

NAME = "Ngozi Okafor"


@pytest.fixture
def lines() -> list[str]:
    return []


def line_of(**extra: object) -> dict[str, object]:
    """Log one line about an exception that quotes a name, with some extra fields."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("csss.of_this_test")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        try:
            raise ValueError(f"cannot parse {NAME}") from KeyError(NAME)
        except ValueError:
            logger.exception("job-raised", extra=extra, stack_info=True)
    finally:
        logger.removeHandler(handler)
    assert NAME not in stream.getvalue()
    [line] = stream.getvalue().splitlines()
    loaded: dict[str, object] = json.loads(line)
    return loaded


def test_a_name_in_an_exception_or_in_an_extra_field_never_reaches_the_line() -> None:
    line = line_of(patient_name=NAME, notes=NAME, job_id=7, attempt=2)
    place = line.pop("raised_at")
    line.pop("at")
    assert line == {
        "level": "error",
        "logger": "csss.of_this_test",
        "event": "job-raised",
        "exception": "ValueError",
        "job_id": 7,
        "attempt": 2,
    }
    assert str(place).startswith(f"{__file__}:")


def test_no_field_for_names_or_texts_is_allowed() -> None:
    named = {"name", "patient", "patient_id", "email", "notes", "text", "reason", "detail", "filename", "birth_date"}
    assert ALLOWED_FIELDS & named == set()


def test_set_up_sends_every_logger_through_the_one_format(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        set_up_logs("WARNING")
        assert [type(handler.formatter) for handler in root.handlers] == [JsonFormatter]
        log("worker").warning("job-lost", extra={"job_kind": "analyse", "patient": NAME})
        log("worker").info("too quiet to be written")
        logging.getLogger("somebody.else").error("broken %s", "pipe")
        written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    assert [(line["logger"], line["event"], line.get("job_kind")) for line in written] == [
        ("csss.worker", "job-lost", "analyse"),
        ("somebody.else", "broken pipe", None),
    ]
    assert sys.stderr is not None
