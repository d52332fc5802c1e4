"""What the archive PDF claims and prints, and that text in it never acts."""

import dataclasses
import io
import re
import socket
from collections.abc import Iterator
from datetime import timedelta, timezone
from pathlib import Path

import pikepdf
import pytest

from csss.reports.content import NotReleasable, PrescriptionFacts, ReferralFacts, ReportContent
from csss.reports.render import RenderFailed, render_archive
from reports.samples import (
    ISSUED_AT,
    archive_pdf,
    make_ai,
    make_content,
    overlay_png,
    run_tool,
    scan_png,
    sign,
    text_of,
    with_name,
    with_notes,
)

replace = dataclasses.replace
UNSIGNED = make_content(signed=False)


def _render(content: ReportContent) -> bytes:
    return render_archive(content, scan_png=scan_png(64), overlay_png=overlay_png(64))


def _objects(element: pikepdf.Object) -> Iterator[pikepdf.Object]:
    children = element.get("/K", [])
    for child in children if isinstance(children, pikepdf.Array) else [children]:
        if isinstance(child, pikepdf.Dictionary) and "/S" in child:
            yield child
            yield from _objects(child)


def test_render_archive_without_sign_offs_is_refused() -> None:
    with pytest.raises(NotReleasable):
        _render(UNSIGNED)


def test_render_archive_claims_pdfa_2b_and_pdfua_1() -> None:
    with pikepdf.open(io.BytesIO(archive_pdf())) as document:
        with document.open_metadata() as metadata:
            claims = {key: metadata[key] for key in ("pdfaid:part", "pdfaid:conformance", "pdfuaid:part", "dc:title")}
        marked, language = bool(document.Root.MarkInfo.Marked), str(document.Root.Lang)
    assert claims == {
        "pdfaid:part": "2",
        "pdfaid:conformance": "B",
        "pdfuaid:part": "1",
        "dc:title": "Scan report R-2026-000123",
    }
    assert (marked, language) == (True, "en")


def test_render_archive_describes_both_pictures_and_tags_the_tables() -> None:
    with pikepdf.open(io.BytesIO(archive_pdf())) as document:
        elements = list(_objects(document.Root.StructTreeRoot))
        described = [str(each.Alt) for each in elements if each.S == "/Figure"]
        header_cells = [each for each in elements if each.S == "/TH"]
        headings = [str(each.S) for each in elements if str(each.S) in {"/H1", "/H2"}]
    assert described == [
        "The scan that was read: Chest radiograph, PA, Chest.",
        'The same scan under the AI heat map: what speaks for "Lung opacity" rather than for "Normal". '
        "Colours are relative to the warmest place.",
    ]
    assert len(header_cells) == 11
    assert headings == ["/H1"] + ["/H2"] * 6


def test_render_archive_is_the_same_for_the_same_input() -> None:
    moment = ISSUED_AT.astimezone(timezone(timedelta(hours=0)))
    assert _render(make_content()) == _render(make_content(issued_at=moment))


PRINTED = (
    "Lindenhof Hospital",
    "Report R-2026-000123, version 1",
    "Issued 20 Nov 2026, 09:45 (UTC+00:00)",
    "Erika Musterfrau",
    "Record number P-004711",
    "Date of birth 29 Feb 1968",
    "Age at the scan 58 years",
    "Sex Female",
    "Blood group A Rh positive",
    "Allergies Penicillin (rash)",
    "Contact +49 30 5550 0123",
    "Opacity in the right lower lobe, in keeping with pneumonia The doctor agrees with the AI result.",
    "Examination Chest radiograph, PA",
    "Modality Digital radiography (DX)",
    "Case A-2026-0042",
    "Acquired on 19 Nov 2026",
    "Received 20 Nov 2026, 09:02 (UTC+01:00)",
    "Device Multix Impact",
    "Confidence 81.2 %",
    "Threshold 75.0 %",
    "Order of attention Moderate",
    "Heat map over right lower lobe, left middle zone",
    "Model chest-mobilenetv2, version 1.0.0",
    "NIH MERGED 7.0 %",
    "No pneumothorax.",
    "Recommendations Follow-up radiograph in six weeks.",
    "Doxycycline 100 mg by mouth twice a day 7 days with food and water, sitting upright",
    "Allergy check Checked against penicillin allergy; no interaction found.",
    "Read and verified Dr. Ada Brandt Doctor 20 Nov 2026, 09:15 (UTC+00:00)",
    "Medication completed Jonas Weiß Pharmacist 20 Nov 2026, 09:25 (UTC+00:00)",
    "Approved for release Mirela Popović Administrator 20 Nov 2026, 09:35 (UTC+00:00) 19a0b97179a7d538",
    "Scan file " + "a7" * 32,
    "AI model " + "c4" * 32,
    "This report was generated with AI assistance and has been reviewed and approved by a qualified medical "
    "professional before release.",
    "Version 1 rests on revision 0 of the case.",
    "Page 1 of 2",
    "Page 2 of 2",
)


def test_render_archive_prints_every_known_fact(tmp_path: Path) -> None:
    text = text_of(archive_pdf(), tmp_path)
    assert [fact for fact in PRINTED if fact not in text] == []


def test_render_archive_prints_no_field_that_is_not_known(tmp_path: Path) -> None:
    bare = replace(UNSIGNED.patient, birth_date=None, sex=None, blood_group=None, allergies=" ", contact=None)
    scan = replace(UNSIGNED.scan, acquired_on=None, device=None)
    content = sign(replace(UNSIGNED, patient=bare, scan=scan, referral=ReferralFacts()))
    text = text_of(_render(content), tmp_path)
    labels = ("Date of birth", "Age", "Sex", "Blood group", "Allergies", "Contact", "Acquired", "Device", "Referral")
    assert [label for label in (*labels, "None") if label in text] == []


def test_render_archive_marks_a_phantom_on_every_page(tmp_path: Path) -> None:
    text = text_of(_render(make_content(phantom=True)), tmp_path)
    assert text.count("PHANTOM - not a real patient") == 3
    assert "PHANTOM" not in text_of(archive_pdf(), tmp_path)


def test_render_archive_shows_an_uncertain_result_with_its_reasons(tmp_path: Path) -> None:
    ai = make_ai(
        label="Uncertain",
        confidence=0.74999,
        uncertain=True,
        uncertain_reasons=("The highest probability is under the threshold.",),
        phantom_trained=True,
    )
    text = text_of(_render(make_content(ai=ai)), tmp_path)
    assert "AI result Uncertain Likeliest class Lung Opacity Confidence 74.9 % Threshold 75.0 %" in text
    assert (
        "To be read with caution The highest probability is under the threshold. "
        "This model was trained on computer-made images and is not valid for patients." in text
    )


def test_render_archive_prints_what_the_checks_of_the_picture_found(tmp_path: Path) -> None:
    ai = make_ai(quality=("The picture is too dark (mean grey 40 of 255; at least 80).",))
    text = text_of(_render(make_content(ai=ai)), tmp_path)
    assert "To be read with caution The picture is too dark (mean grey 40 of 255; at least 80)." in text


def test_render_archive_prints_what_is_not_ruled_out_and_at_which_coverage(tmp_path: Path) -> None:
    known = {"not_ruled_out": ("Lung_Opacity", "COVID"), "coverage": 0.9}
    printed = "Not ruled out Lung Opacity, COVID (set with 90.0 % coverage per class)"
    assert printed in text_of(_render(make_content(ai=make_ai(**known))), tmp_path)
    for ai in (make_ai(**known, out_of_distribution=True, uncertain=True), make_ai()):
        assert "Not ruled out" not in text_of(_render(make_content(ai=ai)), tmp_path)


def test_render_archive_without_ai_says_why_and_claims_none(tmp_path: Path) -> None:
    content = make_content(
        ai=None, no_ai_reason="The model was not available.", reading=replace(UNSIGNED.reading, agrees_with_ai=None)
    )
    text = text_of(render_archive(content, scan_png=scan_png(64), overlay_png=None), tmp_path)
    assert "The doctor read this scan without an AI result. Reason: The model was not available." in text
    assert [words for words in ("AI assistance", "heat map", "agrees", "Confidence") if words in text] == []


def test_render_archive_prints_an_explicit_none(tmp_path: Path) -> None:
    none = PrescriptionFacts("No medicine, no check needed.", none_statement="No medicine is prescribed.")
    text = text_of(_render(make_content(prescription=none)), tmp_path)
    assert "Prescription No medicine is prescribed. Allergy check No medicine, no check needed. Scan" in text


HOSTILE = {
    "typst code": ('#import "@preview/tablex:0.1.0": * #panic()', '#import "@preview/tablex:0.1.0": * #panic()'),
    "typst file": ('#read("/etc/passwd")', '#read("/etc/passwd")'),
    "typst markup": ("= A *b* _c_ $x^2$ @d <e> `f` ~ -- /* g */", "= A *b* _c_ $x^2$ @d <e> `f` ~ -- /* g */"),
    "html": ("<img src=file:///etc/passwd>", "<img src=file:///etc/passwd>"),
    "template": ("{{7*7}} ${7*7} <%= 7*7 %>", "{{7*7}} ${7*7} <%= 7*7 %>"),
    "json": ('"}], "phantom": true, \\', '"}], "phantom": true, \\'),
    "override": ("a\u202edcb\u202c", "a[U+202E]dcb[U+202C]"),
    "isolate": ("a\u2066b\u2069", "a[U+2066]b[U+2069]"),
    "control": ("a\x00b\x07c\x1bd\x7fe", "a[U+0000]b[U+0007]c[U+001B]d[U+007F]e"),
    "zero width": ("a\u200bb\ufeffc", "a[U+200B]b[U+FEFF]c"),
    "surrogate": ("a\ud83db", "a[U+D83D]b"),
    "private use": ("a\U000f0000b\ue000c", "a[U+F0000]b[U+E000]c"),
    "line ends": ("a\r\nb\rc", "a b c"),
    "other line ends": ("a\u2028b\x85c", "a b c"),
    "composed": ("Z\u030cof\u00eda \u0141\u00f3d\u017a \u0395\u03bb \u0416\u0438", "Žofía Łódź Ελ Жи"),
}


@pytest.mark.parametrize(("notes", "printed"), HOSTILE.values(), ids=HOSTILE.keys())
def test_render_archive_prints_hostile_notes_literally(notes: str, printed: str, tmp_path: Path) -> None:
    text = text_of(_render(with_notes(f"start {notes} end")), tmp_path)
    shown = text.split("Findings and notes of the doctor start ")[1].split(" end ")[0]
    assert shown == printed


def test_render_archive_unpiles_marks_that_would_cover_other_lines(tmp_path: Path) -> None:
    text = text_of(_render(with_notes("start a" + "\u0316" * 7 + " end")), tmp_path)
    assert text.split(" end ")[0].count("[U+0316]") == 3


def test_render_archive_takes_every_field_literally(tmp_path: Path) -> None:
    code = "#1 *b* $x$ {{7*7}} <i>"
    assert UNSIGNED.ai is not None
    assert UNSIGNED.prescription is not None
    item = replace(UNSIGNED.prescription.items[0], medicine=code, dose=code, remarks=code)
    content = sign(
        replace(
            UNSIGNED,
            hospital_name=code,
            patient=replace(UNSIGNED.patient, name=code, record_number=code, allergies=code),
            referral=ReferralFacts(physician=code, history=code),
            scan=replace(UNSIGNED.scan, kind=code, device=code, quality_notes=(code,)),
            ai=replace(UNSIGNED.ai, label=code, top_label=code, regions=(code,), uncertain_reasons=(code,), model=code),
            reading=replace(UNSIGNED.reading, conclusion=code, recommendations=code, acknowledgement=code),
            prescription=replace(UNSIGNED.prescription, items=(item,), allergy_check=code),
        )
    )
    sign_offs = tuple(replace(each, person_name=code, role=code) for each in content.sign_offs)
    text = text_of(_render(replace(content, sign_offs=sign_offs)), tmp_path)
    # 19 fields, 6 names and roles; on each of two pages a header, two watermarks and a footer.
    assert text.count(code) == 25 + 2 * 4


def test_render_archive_replaces_only_what_no_font_has(tmp_path: Path) -> None:
    assert "Žofía" in text_of(_render(with_name("Žofía \U00012000\U0001e900")), tmp_path)


@pytest.mark.parametrize("name", ["张伟", "محمد علي", "দীপা", "😀 Ω≈ç", "한글"])
def test_render_archive_shows_other_scripts_or_their_code_points(name: str, tmp_path: Path) -> None:
    text = text_of(_render(with_name(f"Anna {name}")), tmp_path)
    missing = [each for each in name if each.isalpha() and each not in text and f"[U+{ord(each):04X}]" not in text]
    assert missing == []


@pytest.mark.parametrize(
    "name", ["张" * 300, "".join(map(chr, range(0x4E00, 0x4E00 + 3000))), "\u0300\u200d\U0001f600"]
)
def test_render_archive_never_fails_for_lack_of_glyphs(name: str) -> None:
    assert _render(with_name(name)).startswith(b"%PDF-1.7")


def test_render_archive_keeps_all_of_long_notes(tmp_path: Path) -> None:
    notes = " ".join(f"word{number:04d}" for number in range(2300))
    text = text_of(_render(with_notes(notes)), tmp_path)
    assert re.findall(r"word\d{4}", text) == notes.split()


@pytest.mark.parametrize("letter", ["W", "m", "Ж", "漢"])
def test_render_archive_keeps_long_words_on_the_page(letter: str, tmp_path: Path) -> None:
    word = letter * 400
    assert UNSIGNED.prescription is not None
    item = replace(UNSIGNED.prescription.items[0], medicine=word, route=word)
    content = replace(
        UNSIGNED,
        hospital_name=letter * 80,
        patient=replace(UNSIGNED.patient, name=word, contact=word),
        reading=replace(UNSIGNED.reading, notes=word),
        prescription=replace(UNSIGNED.prescription, items=(item,)),
    )
    path = tmp_path / "long.pdf"
    path.write_bytes(_render(sign(content)))
    boxes = run_tool("pdftotext", "-bbox", str(path), "-").stdout
    right_edges = [float(edge) for edge in re.findall(r'<word [^>]*xMax="([0-9.]+)"', boxes)]
    assert right_edges
    assert max(right_edges) < 595.3


def test_render_archive_opens_no_connection_and_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("canary-4711")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        notes = f'<img src="{address}"> #image("{address}") ![x]({address}) <img src=file://{secret}> #read("{secret}")'
        pdf = _render(with_notes(notes))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "canary-4711" not in text_of(pdf, tmp_path)


def test_render_archive_has_no_active_content_and_no_links() -> None:
    with pikepdf.open(io.BytesIO(_render(with_notes("http://example.org/ mailto:a@example.org")))) as document:
        annotations = [page for page in document.pages if "/Annots" in page.obj]
        assert "/AcroForm" not in document.Root
    assert annotations == []


@pytest.mark.parametrize(
    "picture",
    [
        b"",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        scan_png(64)[:40],
        scan_png(64)[:-200],
        scan_png(64).replace(b"IDAT", b"IDAT\x00", 1),
    ],
)
def test_render_archive_refuses_a_picture_that_is_no_whole_png(picture: bytes) -> None:
    with pytest.raises(RenderFailed):
        render_archive(make_content(), scan_png=picture, overlay_png=None)


def test_render_archive_refuses_a_language_it_cannot_write() -> None:
    with pytest.raises(RenderFailed):
        _render(make_content(language="de"))


def test_render_archive_prints_no_class_for_a_picture_unlike_all_others(tmp_path: Path) -> None:
    ai = dataclasses.replace(
        make_ai(),
        label="Uncertain",
        uncertain=True,
        uncertain_reasons=("Uncertain: unlike.",),
        out_of_distribution=True,
    )
    pdf = render_archive(make_content(ai=ai), scan_png=scan_png(), overlay_png=None)
    text = text_of(pdf, tmp_path)
    assert "unlike those it knows means nothing and is not printed" in text
    shown = [item.label for item in ai.probabilities if item.label.replace("_", " ") + " " in text]
    assert (shown, "Likeliest class" in text, "Confidence" in text) == ([], False, False)
