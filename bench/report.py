"""Compares one sealed report (typst, PAdES, AES-256) with the papers' pipeline (Jinja2, WeasyPrint, AES-256-CBC).

Run as ``python bench/report.py [--reports N] [--weasyprint-python PATH]``. Each side is a whole process of its own that
makes one report to warm up and then N; figures come from the operating system's accounting of that process. The other
side needs weasyprint and jinja2, in this environment or in the one whose interpreter is named.
"""

import argparse
import base64
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

SIZE_PX = 1000
FACTS = {
    "hospital": "Lindenhof Hospital",
    "report_id": "R-2026-000123",
    "name": "Erika Musterfrau",
    "record": "P-004711",
    "scan": "Chest radiograph, PA",
    "conclusion": "Opacity in the right lower lobe, in keeping with pneumonia",
    "notes": "Heart size normal. Patchy opacity in the right lower zone, no effusion. " * 6,
    "label": "Lung_Opacity",
}
PROBABILITIES = (
    ("Lung_Opacity", 0.8123),
    ("NIH_MERGED", 0.0702),
    ("Normal", 0.0564),
    ("COVID", 0.0311),
    ("Viral_Pneumonia", 0.03),
)
ITEMS = (
    ("Doxycycline", "100 mg", "by mouth", "twice a day", "7 days", "with food"),
    ("Paracetamol", "500 mg", "by mouth", "as needed", "5 days", ""),
)
PEOPLE = (
    ("verified", "Dr. Ada Brandt", "Doctor"),
    ("completed", "Jonas Weiss", "Pharmacist"),
    ("approved", "Mirela Popovic", "Administrator"),
)
ISSUED_AT = datetime(2026, 11, 20, 9, 45, tzinfo=UTC)

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report {{ report_id }}</title><style>
@page { size: A4; margin: 22mm; @bottom-right { content: "Page " counter(page) " of " counter(pages) } }
body { font-family: sans-serif; font-size: 10pt } table { width: 100%; border-collapse: collapse }
td, th { border-bottom: 1px solid #ccc; padding: 4px; text-align: left } .pictures img { width: 49% }
.bar { background: #0e4d64; height: 8px } .mark { position: fixed; top: 40%; transform: rotate(-35deg); color: #eee;
font-size: 40pt; z-index: -1 } .note { background: #f2f6f8; border-left: 3px solid #0e4d64; padding: 8px }
</style></head><body><div class="mark">{{ hospital }}</div><h1>Scan report</h1><h2>{{ name }}</h2>
<p>{{ hospital }}, report {{ report_id }}, record {{ record }}, {{ scan }}</p><h2>Conclusion</h2>
<p class="note">{{ conclusion }}</p><div class="pictures"><img src="{{ scan_png }}"> <img src="{{ overlay_png }}"></div>
<h2>AI result: {{ label }}</h2><table>{% for name, share in probabilities %}<tr><td>{{ name }}</td>
<td><div class="bar" style="width: {{ share * 100 }}%"></div></td><td>{{ "%.1f" | format(share * 100) }} %</td></tr>
{% endfor %}</table><h2>Notes</h2><p>{{ notes }}</p><h2>Prescription</h2><table>{% for item in items %}<tr>
{% for cell in item %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table><h2>Sign-offs</h2><table>
{% for step, name, role in people %}<tr><td>{{ step }}</td><td>{{ name }}</td><td>{{ role }}</td></tr>{% endfor %}
</table><p class="note">This report was generated with AI assistance and has been reviewed and approved by a qualified
medical professional before release.</p></body></html>"""


def make_ours(pictures: list[bytes]) -> Callable[[], bytes]:
    from csss.reports import content as facts
    from csss.reports.render import render_archive
    from csss.reports.seal import SigningIdentity, make_site_identity, new_password, seal_copy, sign_archive

    ai = facts.AiFacts(
        "chest-mobilenetv2", "1.0.0", "c4" * 32, FACTS["label"], FACTS["label"], PROBABILITIES[0][1],
        tuple(facts.LabelProbability(*pair) for pair in PROBABILITIES), 0.75, False, "Moderate",
    )  # fmt: skip
    content = facts.ReportContent(
        FACTS["report_id"], 1, 0, FACTS["hospital"], ISSUED_AT, facts.PatientFacts(FACTS["name"], FACTS["record"]),
        facts.ScanFacts("s-1", "A-1", "DX", "Chest", FACTS["scan"], ISSUED_AT - timedelta(hours=1), "a7" * 32), ai,
        facts.ReadingFacts(FACTS["conclusion"], FACTS["notes"], True),
        facts.PrescriptionFacts("Checked.", tuple(facts.PrescribedItem(*item) for item in ITEMS)),
    )  # fmt: skip
    import dataclasses

    signed = tuple(
        facts.SignOffFact(
            facts.SignOffStep(step), name, name, role, ISSUED_AT, facts.content_sha256(content, facts.SignOffStep(step))
        )
        for step, name, role in PEOPLE
    )
    content = dataclasses.replace(content, sign_offs=signed)
    identity = SigningIdentity.from_pkcs12(
        make_site_identity(FACTS["hospital"], password=b"bench", made_at=ISSUED_AT), b"bench"
    )

    def make() -> bytes:
        pdf = render_archive(content, scan_png=pictures[0], overlay_png=pictures[1])
        sign_archive(pdf, identity, signed_at=ISSUED_AT)
        return seal_copy(pdf, identity, user_password=new_password(), signed_at=ISSUED_AT)

    return make


def make_theirs(pictures: list[bytes]) -> Callable[[], bytes]:
    try:
        import jinja2
        import weasyprint
        from cryptography.hazmat.primitives import padding
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except (ImportError, OSError) as error:
        sys.exit(f"The papers' pipeline is not installed here ({error}): pip install weasyprint jinja2 cryptography")
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in pictures]

    def make() -> bytes:
        html = page.render(
            FACTS, scan_png=urls[0], overlay_png=urls[1], probabilities=PROBABILITIES, items=ITEMS, people=PEOPLE
        )
        padder, key, start = padding.PKCS7(128).padder(), os.urandom(32), os.urandom(16)
        padded = padder.update(weasyprint.HTML(string=html).write_pdf()) + padder.finalize()
        cipher = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
        return start + cipher.update(padded) + cipher.finalize()

    return make


SIDES: dict[str, Callable[[list[bytes]], Callable[[], bytes]]] = {"ours": make_ours, "papers": make_theirs}


def run_side(side: str, reports: int, folder: Path) -> None:
    started = time.perf_counter()
    make = SIDES[side]([(folder / name).read_bytes() for name in ("scan.png", "overlay.png")])
    make()
    ready_ms = (time.perf_counter() - started) * 1000
    wall_ms, cpu_ms, size_bytes = [], [], 0
    for _ in range(reports):
        wall, cpu = time.perf_counter(), time.process_time()
        size_bytes = len(make())
        wall_ms.append((time.perf_counter() - wall) * 1000)
        cpu_ms.append((time.process_time() - cpu) * 1000)
    print(
        json.dumps(
            {
                "wall_ms": statistics.median(wall_ms),
                "cpu_ms": statistics.median(cpu_ms),
                "first_report_ms": ready_ms,
                "size_kib": size_bytes / 1024,
            }
        )
    )


def measure(side: str, python: str, reports: int, folder: Path) -> dict[str, float] | None:
    """Return the figures of one side, run alone as a process, or None where it cannot run (it says why)."""
    command = [python, __file__, "--side", side, "--reports", str(reports), "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        return None
    figures: dict[str, float] = json.loads(printed)
    figures["peak_rss_mib"] = usage.ru_maxrss / 1024
    figures["process_cpu_ms"] = (usage.ru_utime + usage.ru_stime) * 1000
    return figures


def write_pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    grey = (120 + 60 * np.sin(columns * 9) * np.cos(rows * 7) + np.random.default_rng(1).normal(0, 4, rows.shape)).clip(
        0, 255
    )
    heat = np.exp(-(((columns - 0.3) / 0.1) ** 2) - ((rows - 0.65) / 0.1) ** 2)
    colour = 0.6 * grey[..., None] + 102 * np.stack([heat, 1 - abs(heat - 0.5) * 2, 1 - heat], axis=-1)
    for name, pixels in (("scan.png", grey), ("overlay.png", colour)):
        out = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
        (folder / name).write_bytes(out.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--weasyprint-python", default=sys.executable)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.side:
        run_side(asked.side, asked.reports, asked.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder))
        ours = measure("ours", sys.executable, asked.reports, Path(folder))
        papers = measure("papers", asked.weasyprint_python, asked.reports, Path(folder))
    if ours is None:
        sys.exit("Our side failed.")
    print(f"{'one sealed report':<18}{'ours':>12}{'papers':>12}{'papers/ours':>13}")
    for name, figure in ours.items():
        other = f"{papers[name]:>12.1f}{papers[name] / figure:>13.2f}" if papers else f"{'not run':>12}"
        print(f"{name:<18}{figure:>12.1f}{other}")


if __name__ == "__main__":
    main()
