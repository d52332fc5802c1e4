"""The documents say what the code does: settings, routes, links, sizes."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from csss.foundation.settings import PREFIX, Settings
from csss.inference.card import load_card

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("var", "node_modules") for part in path.parts)
)


def _variables() -> list[str]:
    names = []
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            names += [f"{PREFIX}{name}_{inner}".upper() for inner in group.model_fields]
        else:
            names.append(f"{PREFIX}{name}".upper())
    return names


def test_deployment_lists_every_setting_and_no_other() -> None:
    table = (ROOT / "docs/deployment.md").read_text().partition("## Settings")[2].partition("## Watching")[0]
    listed = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(CSSS_\w+)`", row.split("|")[1])
    }
    assert listed == set(_variables())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def _sources() -> list[Path]:
    return sorted(path for folder in ("src", "training", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): count for path in _sources() if (count := len(path.read_text().splitlines())) > 400
    }
    assert {name: count for name, count in long.items() if "migrations/versions" not in name} == {}


def test_every_module_says_its_duty() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.parts[len(ROOT.parts)] != "tests"
        and path.read_text().strip()
        and not path.read_text().lstrip().startswith('"""')
    ]
    assert silent == []


def test_models_in_the_repository_are_whole() -> None:
    folders = sorted(path.parent for path in (ROOT / "models").glob("*/*/card.json"))
    assert folders != []
    for folder in folders:
        card = load_card(folder)
        assert ({path.name for path in folder.iterdir()} >= {"METRICS.md", "golden.npz"}, card.name) == (
            True,
            folder.parent.name,
        )
