"""The papers' side of `bench report`: Jinja2, WeasyPrint, AES-256-CBC; one copy, no signature, no PDF/A."""

import argparse
import base64
import os
from collections.abc import Callable
from pathlib import Path

import jinja2
import weasyprint
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bench import report_facts as facts
from bench.stopwatch import time_side

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report {{ report_id }}</title>
<style>
@page { size: A4; margin: 22mm; @bottom-right { content: "Page " counter(page) " of " counter(pages) } }
body { font-family: sans-serif; font-size: 10pt } table { width: 100%; border-collapse: collapse }
td, th { border-bottom: 1px solid #ccc; padding: 4px; text-align: left } .pictures img { width: 49% }
.bar { background: #0e4d64; height: 8px } .note { background: #f2f6f8; border-left: 3px solid; padding: 8px }
.mark { position: fixed; top: 40%; transform: rotate(-35deg); color: #eee; font-size: 40pt; z-index: -1 }
</style></head><body><div class="mark">{{ hospital }}</div><h1>Scan report</h1><h2>{{ name }}</h2>
<p>{{ hospital }}, report {{ report_id }}, record {{ record }}, {{ scan }}</p><h2>Conclusion</h2>
<p class="note">{{ conclusion }}</p>
<div class="pictures"><img src="{{ scan_url }}"> <img src="{{ overlay_url }}"></div>
<h2>AI result</h2><table>{% for label, share in probabilities %}<tr><td>{{ label }}</td>
<td><div class="bar" style="width: {{ share * 100 }}%"></div></td>
<td>{{ "%.1f" | format(share * 100) }} %</td></tr>{% endfor %}</table>
<h2>Notes</h2><p>{{ notes }}</p><h2>Prescription</h2><table>
{% for item in items %}<tr>{% for cell in item %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>
<h2>Sign-offs</h2><table>
{% for step, person, role in people %}<tr><td>{{ step }}</td><td>{{ person }}</td><td>{{ role }}</td></tr>
{% endfor %}</table><p class="note">This report was generated with AI assistance and has been reviewed and
approved by a qualified medical professional before release.</p></body></html>"""


def make_answer(folder: Path) -> Callable[[], object]:
    """What is called for each report: its encrypted PDF."""
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    values = {
        "hospital": facts.HOSPITAL,
        "report_id": facts.REPORT_ID,
        "name": facts.NAME,
        "record": facts.RECORD,
        "scan": facts.SCAN,
        "conclusion": facts.CONCLUSION,
        "notes": facts.NOTES,
        "probabilities": facts.PROBABILITIES,
        "items": facts.ITEMS,
        "people": facts.PEOPLE,
        "scan_url": _url(folder / "scan.png"),
        "overlay_url": _url(folder / "overlay.png"),
    }
    return lambda: _encrypt(weasyprint.HTML(string=page.render(values)).write_pdf())


def _url(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _encrypt(pdf: bytes) -> bytes:
    padder, key, start = padding.PKCS7(128).padder(), os.urandom(32), os.urandom(16)
    cipher = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    return start + cipher.update(padder.update(pdf) + padder.finalize()) + cipher.finalize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    time_side(make_answer(asked.folder), asked.repeats)


if __name__ == "__main__":
    main()
