"""Renders report content as an accessible archive PDF (PDF/A-2b and PDF/UA-1) without letting text act as code."""

import base64
import functools
import io
import json
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal
from importlib import resources
from typing import Any, Final

import typst
from PIL import Image

from csss.foundation.errors import CsssError
from csss.reports.content import (
    AiFacts,
    PatientFacts,
    PrescriptionFacts,
    ReferralFacts,
    ReportContent,
    ScanFacts,
    SignOffFact,
    SignOffStep,
    age_in_years,
    statement,
)

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEP_NAMES: Final = {
    SignOffStep.VERIFIED: "Read and verified",
    SignOffStep.COMPLETED: "Medication completed",
    SignOffStep.APPROVED: "Approved for release",
}
_PICTURE_MODES: Final = frozenset({"L", "LA", "P", "RGB", "RGBA"})
_UNBROKEN: Final = 24
_ROLE_NAMES: Final = {"admin": "administrator"}
_UNBROKEN_IN_TABLES: Final = 12
_TABLES: Final = ("prescription", "sign_offs")
_MARKS_IN_A_ROW: Final = 4
_NEW_LINE: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Line feed, and the joiners that Persian, Indic scripts and emoji are spelt with.
_KEPT: Final = "\n\u200c\u200d"
_UNPRINTABLE: Final = re.compile(r'the text `"((?:[^"\\]|\\.)+)"` could not be displayed')
_ESCAPED: Final = re.compile(r"\\u\{([0-9a-f]+)\}")


class RenderFailed(CsssError):
    """The report could not be drawn."""

    code = "render-failed"


def render_archive(content: ReportContent, *, scan_png: bytes, overlay_png: bytes | None) -> bytes:
    """Return the report as an unsigned PDF/A-2b + PDF/UA-1 file, the same bytes for the same input and fonts.

    ``scan_png`` is the picture that was read, ``overlay_png`` the same picture under the heat map (None: no heat
    map is shown). Text reaches the typesetter as data only. What no font can show, and what could hide or reorder
    text, is printed as its code point, such as [U+202E]. Raises ``NotReleasable`` without full sign-offs,
    ``RenderFailed`` for a picture that is not a whole 8-bit PNG or another language than English.
    """
    if content.language != "en":
        raise RenderFailed("Reports can be written in English only.")
    printed = {**_printed(content), "has_overlay": overlay_png is not None}
    pictures = {"scan": _as_svg(scan_png), "overlay": _as_svg(overlay_png) if overlay_png is not None else ""}
    # A PDF's dates have whole seconds (ISO 32000-2 7.9.4), and typst refuses any other time.
    return _typeset(printed, pictures, content.issued_at.astimezone(UTC).replace(microsecond=0))


def _typeset(printed: dict[str, Any], pictures: dict[str, str], issued_at: datetime) -> bytes:
    missing: frozenset[str] = frozenset()
    for _ in range(3):
        try:
            return _compile(printed, missing, pictures, issued_at)
        except typst.TypstError as error:
            found = _unprintable_in(error.diagnostic)
            if not found - missing:
                break
            missing |= found
    try:
        return _compile(printed, None, pictures, issued_at)
    except typst.TypstError as error:
        raise RenderFailed("The report could not be typeset.") from error


def _compile(
    printed: dict[str, Any], missing: frozenset[str] | None, pictures: dict[str, str], issued_at: datetime
) -> bytes:
    def fitted(part: Any, unbroken: int) -> Any:
        return _each_text(part, lambda text: _breakable(_displayable(text, missing), unbroken))

    shown = {key: fitted(part, _UNBROKEN_IN_TABLES if key in _TABLES else _UNBROKEN) for key, part in printed.items()}
    compiler = typst.Compiler(_template(), font_paths=_fonts())
    pdf = compiler.compile(
        format="pdf",
        sys_inputs={"report": json.dumps(shown, ensure_ascii=False), **pictures},
        pdf_standards=["a-2b", "ua-1"],
        timestamp=issued_at,
    )
    if not isinstance(pdf, bytes):
        raise RenderFailed("The report could not be typeset.")
    return pdf


@functools.cache
def _template() -> bytes:
    return resources.files("csss.reports").joinpath("templates/report.typ").read_bytes()


@functools.cache
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True)


def _as_svg(png: bytes) -> str:
    # typst takes strings only; a PNG inside an SVG travels as one, without a file that holds a patient's picture.
    # It refuses damaged pixels, but draws nothing, without a word, where it cannot read the head: so that is read here.
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if picture.mode not in _PICTURE_MODES:
                raise RenderFailed("The picture for the report is not an 8-bit grey or colour picture.")
            width, height = picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RenderFailed("The picture for the report is not a readable PNG.") from error
    encoded = base64.b64encode(png).decode("ascii")
    size = f'width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><image {size} href="data:image/png;base64,{encoded}"/></svg>'
    )


def _printed(content: ReportContent) -> dict[str, Any]:
    prescription = content.prescription or PrescriptionFacts(allergy_check="")
    printed = {
        "title": "Scan report",
        "report_id": content.report_id,
        "hospital": content.hospital_name,
        "language": content.language,
        "identity": f"Report {content.report_id}, version {content.version}",
        "footer": f"Report {content.report_id}, version {content.version}, record {content.patient.record_number}",
        "watermark": _watermark(content),
        "phantom": content.phantom,
        "phantom_text": "PHANTOM - not a real patient",
        "issued": f"Issued {_moment(content.issued_at)}",
        "patient_name": content.patient.name,
        "patient": _patient(content.patient, content.scan),
        "referral": _referral(content.referral),
        "scan": _scan(content.scan),
        "quality": list(content.scan.quality_notes),
        **_picture_words(content),
        "ai": _ai(content.ai) if content.ai is not None else None,
        "no_ai": f"The doctor read this scan without an AI result. Reason: {content.no_ai_reason}",
        "reading": _reading(content),
        "prescription": {
            "items": [
                [item.medicine, item.dose, item.route, item.frequency, item.duration, item.remarks]
                for item in prescription.items
            ],
            "none": prescription.none_statement or "",
            "facts": [["Allergy check", prescription.allergy_check]],
        },
        "sign_offs": [_sign_off(sign_off) for sign_off in content.sign_offs],
        "statement": statement(content),
        **_integrity(content),
    }
    literal: dict[str, Any] = _each_text(printed, _literal)
    return literal


def _patient(patient: PatientFacts, scan: ScanFacts) -> list[list[str]]:
    examined_on = scan.acquired_on or scan.received_at.date()
    age = age_in_years(patient.birth_date, examined_on) if patient.birth_date else None
    # A picture that does not say when it was taken shows an age that is known for the day of receipt only.
    age_of = "Age at the scan" if scan.acquired_on else "Age at receipt"
    return _known(
        ("Record number", patient.record_number),
        ("Date of birth", _day(patient.birth_date)),
        (age_of, None if age is None else f"{age} years"),
        ("Sex", patient.sex),
        ("Blood group", patient.blood_group),
        ("Allergies", patient.allergies),
        ("Contact", patient.contact),
        ("Insurance", patient.insurance),
        ("Emergency contact", patient.emergency_contact),
        ("Visit", patient.visit),
    )


def _referral(referral: ReferralFacts | None) -> list[list[str]]:
    if referral is None:
        return []
    return _known(
        ("Referred by", referral.physician),
        ("Department", referral.department),
        ("Indication", referral.indication),
        ("Requested on", _day(referral.requested_on)),
        ("Priority", referral.priority),
        ("History", referral.history),
    )


def _scan(scan: ScanFacts) -> list[list[str]]:
    return _known(
        ("Examination", scan.kind),
        ("Body part", scan.body_part),
        ("Modality", scan.modality),
        ("Case", scan.accession_number),
        ("Acquired on", _day(scan.acquired_on)),
        ("Received", _moment(scan.received_at)),
        ("Device", scan.device),
        ("Technician", scan.technician),
        ("Contrast", scan.contrast),
    )


def _picture_words(content: ReportContent) -> dict[str, str]:
    what = f"{content.scan.kind}, {content.scan.body_part}"
    heat = (content.ai and content.ai.heat) or "what speaks for the likeliest class"
    return {
        "scan_alt": f"The scan that was read: {what}.",
        "scan_caption": "The scan as read",
        "overlay_alt": f"The same scan under the AI heat map: {heat}. Colours are relative to the warmest place.",
        "overlay_caption": f"AI heat map: {heat}. Colours are relative to the warmest place.",
    }


def _set_words(ai: AiFacts) -> str | None:
    if ai.out_of_distribution or ai.coverage is None:
        return None
    return (
        f"{', '.join(_label(name) for name in ai.not_ruled_out)} (set with {_percent(ai.coverage)} coverage per class)"
    )


def _ai(ai: AiFacts) -> dict[str, Any]:
    # Shares of classes for a picture unlike all that the model knows are numbers without a meaning: not printed.
    ranked = sorted(ai.probabilities, key=lambda item: -item.probability) if not ai.out_of_distribution else []
    likeliest = None if ai.label == ai.top_label or ai.out_of_distribution else _label(ai.top_label)
    cautions = [*ai.uncertain_reasons, *ai.quality]
    if ai.phantom_trained:
        cautions.append("This model was trained on computer-made images and is not valid for patients.")
    return {
        "label": _label(ai.label),
        "uncertain": ai.uncertain,
        "facts": _known(
            ("Likeliest class", likeliest),
            ("Confidence", None if ai.out_of_distribution else _percent(ai.confidence)),
            ("Threshold", _percent(ai.tau)),
            ("Not ruled out", _set_words(ai)),
            ("Order of attention", ai.risk),
            ("Heat map over", ", ".join(ai.regions) if ai.heat else None),
            ("Model", f"{ai.model}, version {ai.version}"),
        ),
        "bars": [
            {
                "label": _label(item.label),
                "share": min(max(item.probability, 0.0), 1.0),
                "percent": _percent(item.probability),
                "top": item.label == ai.top_label,
                "tau": min(max(ai.tau, 0.0), 1.0),
            }
            for item in ranked
        ],
        "legend": f"Probability of each class; the mark shows the threshold of {_percent(ai.tau)}."
        if ranked
        else "What the model would say about a picture unlike those it knows means nothing and is not printed.",
        "cautions": cautions,
        "notice": "The AI result supports the doctor's reading. It is not a diagnosis.",
    }


def _reading(content: ReportContent) -> dict[str, Any]:
    reading = content.reading
    agreement = ""
    if reading.agrees_with_ai is not None:
        agreement = f"The doctor {'agrees' if reading.agrees_with_ai else 'disagrees'} with the AI result."
    return {
        "conclusion": reading.conclusion,
        "agreement": agreement,
        "notes": reading.notes,
        "more": _known(
            ("Recommendations", reading.recommendations),
            ("Acknowledgement", reading.acknowledgement),
        ),
    }


def _sign_off(sign_off: SignOffFact) -> dict[str, str]:
    return {
        "step": _STEP_NAMES[sign_off.step],
        "name": sign_off.person_name,
        "role": _ROLE_NAMES.get(sign_off.role, sign_off.role),
        "at": _moment(sign_off.at),
        "hash": sign_off.content_sha256[:16],
    }


def _integrity(content: ReportContent) -> dict[str, Any]:
    digests = [
        ["Approved content", content.sign_offs[-1].content_sha256],
        ["Scan file", content.scan.file_sha256],
    ]
    if content.ai is not None:
        digests.append(["AI model", content.ai.model_sha256])
    return {
        "integrity": f"Version {content.version} rests on revision {content.revision} of the case. "
        "The file is digitally signed; a PDF viewer reports any later change. SHA-256 digests:",
        "digests": digests,
    }


def _watermark(content: ReportContent) -> list[str]:
    first = "PHANTOM" if content.phantom else content.hospital_name[:36]
    return [first, f"{content.report_id[:36]} v{content.version}"]


def _known(*pairs: tuple[str, str | None]) -> list[list[str]]:
    return [[name, value] for name, value in pairs if value is not None and value.strip()]


def _label(label: str) -> str:
    return label.replace("_", " ")


def _day(day: date | None) -> str | None:
    return None if day is None else f"{day.day} {_MONTHS[day.month - 1]} {day.year:04d}"


def _moment(moment: datetime) -> str:
    offset = moment.strftime("%z")
    return f"{_day(moment)}, {moment:%H:%M} (UTC{offset[:3]}:{offset[3:5]})"


def _percent(share: float) -> str:
    # Rounded down: a figure just under the threshold must not be printed as if it had reached it.
    return f"{(Decimal(str(share)) * 100).quantize(Decimal('0.1'), ROUND_DOWN)} %"


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    return value


def _literal(text: str) -> str:
    """Return text in which nothing is invisible: controls, overrides and piled-up marks show their code points."""
    text = unicodedata.normalize("NFC", _NEW_LINE.sub("\n", text)).replace("\t", "    ")
    shown, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        hidden = category in {"Cc", "Cf", "Co", "Cn", "Cs"} and character not in _KEPT
        shown.append(_code_point(character) if hidden or marks > _MARKS_IN_A_ROW else character)
    return "".join(shown)


def _displayable(text: str, missing: frozenset[str] | None) -> str:
    """Return text with the missing characters (None: all but ASCII) as code points."""
    return "".join(
        _code_point(character) if not character.isascii() and (missing is None or character in missing) else character
        for character in text
    )


def _breakable(text: str, unbroken: int) -> str:
    """Return text whose words may be broken after ``unbroken`` characters, so that none runs off the page."""

    def cut(match: re.Match[str]) -> str:
        word = match[0]
        # A zero-width space would change the shapes of joined letters.
        if any(unicodedata.bidirectional(letter) == "AL" for letter in word):
            return word
        return "\u200b".join(word[start : start + unbroken] for start in range(0, len(word), unbroken))

    return re.sub(rf"\S{{{unbroken + 1},}}", cut, text)


def _code_point(character: str) -> str:
    return f"[U+{ord(character):04X}]"


def _unprintable_in(diagnostic: str) -> frozenset[str]:
    clusters = (_ESCAPED.sub(lambda code: chr(int(code[1], 16)), found) for found in _UNPRINTABLE.findall(diagnostic))
    return frozenset(character for cluster in clusters for character in cluster if not character.isascii())
