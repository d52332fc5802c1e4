"""What a run was given is looked at before it begins."""

import zipfile
from pathlib import Path

import pytest
from tiny_model import make_gate_folder
from training.ahead import VersionExists, demand_new, demand_there

from csss.foundation.errors import CsssError, NotFound
from model_shelves import make_version


def test_a_finished_version_is_never_written_over(tmp_path: Path) -> None:
    folder = make_version(tmp_path, "1")
    with pytest.raises(VersionExists, match="Give a new version number"):
        demand_new(folder)
    # A run that was stopped left weights and no card; it may go on.
    (folder / "card.json").unlink()
    demand_new(folder)
    demand_new(tmp_path / "tiny" / "2")


def test_what_is_misspelt_is_told_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_gate_folder(tmp_path / "shelf")
    folder = make_version(tmp_path / "shelf", "1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "b")
    demand_there(gate=tmp_path / "shelf", beside=folder, zips=(tmp_path / "a.zip", None))
    monkeypatch.chdir(folder.parent)
    demand_there(beside=Path("1"))
    with pytest.raises(NotFound, match=r"no model input-gate that can be served in .*none\. No model folder"):
        demand_there(gate=tmp_path / "none")
    with pytest.raises(NotFound, match="no model tiny 7 that can be served"):
        demand_there(beside=folder.parent / "7")
    with pytest.raises(CsssError, match="is no zip"):
        demand_there(zips=(tmp_path / "shelf",))


def test_a_damaged_model_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    folder = make_version(tmp_path, "1")
    (folder / "head.npz").write_bytes(b"changed")
    with pytest.raises(NotFound, match=r"tiny/1: head\.npz is not the file that the card describes"):
        demand_there(beside=folder)
