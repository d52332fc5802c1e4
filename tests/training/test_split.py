"""The splitter: shares, whole groups and patients, the official split, the same answer every time, and its files."""

import json
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training.archive import SPLITS, Sample, SplitLeak, prove_whole, read_manifest
from training.datasets import Dataset, Layout, read_dataset
from training.split import Plan, UnfitShares, join_groups, parse_shares, split_dataset

from csss.foundation.errors import Conflict

MIX = {("a", "west"): 300, ("a", "east"): 60, ("b", "west"): 100, ("b", "east"): 400, ("c", "east"): 40}


def make_samples(seed: int = 0) -> tuple[Sample, ...]:
    """Pictures of every label x source of ``MIX``, in patients of one to six pictures."""
    random = np.random.default_rng(seed)
    samples = []
    for (label, source), count in MIX.items():
        made = 0
        while made < count:
            patient = f"{source}-{label}-{made}"
            for _ in range(min(int(random.integers(1, 7)), count - made)):
                file = f"{label}/{source}{made}.png"
                samples.append(Sample(file, label, source, None, f"g-{patient}", "MIT", "0" * 64, patient))
                made += 1
    return tuple(samples)


def make_dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(Path("none"), Layout.MANIFEST, samples, ())


@pytest.mark.parametrize(
    ("text", "shares"), [("70/15/15", (0.7, 0.15, 0.15)), ("1/1/2", (0.25, 0.25, 0.5)), ("8/1/1", (0.8, 0.1, 0.1))]
)
def test_shares_are_parsed_to_a_sum_of_one(text: str, shares: tuple[float, float, float]) -> None:
    assert parse_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize("text", ["70/30", "a/b/c", "70/0/30", "1/1/-1", "nan/1/1", ""])
def test_shares_that_are_not_three_positive_numbers_are_refused(text: str) -> None:
    with pytest.raises(UnfitShares):
        parse_shares(text)


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.5, 0.2, 0.3)])
def test_every_label_of_every_source_has_its_share(shares: tuple[float, float, float]) -> None:
    division = split_dataset(make_dataset(make_samples()), Plan(shares))
    for (label, source), count in MIX.items():
        for split, share in zip(SPLITS, shares, strict=True):
            # Nobody can do better than about half the largest patient; six pictures is the largest.
            assert abs(division.count(split, label, source) - share * count) <= 6
    assert abs(division.count("test") - shares[2] * sum(MIX.values())) <= 3


def test_no_patient_and_no_group_crosses_a_split() -> None:
    division = split_dataset(make_dataset(make_samples()), Plan())
    held = defaultdict(set)
    for sample in division.samples:
        held[sample.patient].add(sample.split)
        held[sample.split_group].add(sample.split)
    assert {len(splits) for splits in held.values()} == {1}


def test_same_seed_gives_the_same_split_whatever_the_order_and_another_seed_another() -> None:
    samples = make_samples()
    first = {each.file: each.split for each in split_dataset(make_dataset(samples), Plan()).samples}
    turned = {each.file: each.split for each in split_dataset(make_dataset(samples[::-1]), Plan()).samples}
    other = {each.file: each.split for each in split_dataset(make_dataset(samples), Plan(seed=7)).samples}
    assert first == turned
    assert first != other


def test_groups_that_share_a_patient_are_joined_over_several_steps() -> None:
    rows = [("1", "g1", "p1"), ("2", "g1", "p2"), ("3", "g2", "p2"), ("4", "g3", None), ("5", "g4", None)]
    samples = tuple(Sample(file, "a", "s", None, group, "", "", patient) for file, group, patient in rows)
    assert [[each.file for each in group] for group in join_groups(samples)] == [["1", "2", "3"], ["4"], ["5"]]


@pytest.mark.parametrize("change", [{"split_group": "g", "patient": None}, {"patient": "p"}])
def test_proof_finds_a_crossing_group_or_patient(change: dict[str, str]) -> None:
    one = Sample("1", "a", "s", "train", "g1", "", "", None)
    other = Sample("2", "a", "s", "test", "g2", "", "", None)
    prove_whole((one, other))
    with pytest.raises(SplitLeak):
        prove_whole((replace(one, **change), replace(other, **change)))


def test_official_split_is_kept_and_its_joint_part_divided() -> None:
    samples = tuple(
        replace(each, split="test" if int(each.split_group.rsplit("-", 1)[1]) % 2 else "train_val")
        for each in make_samples()
    )
    division = split_dataset(make_dataset(samples), Plan(keep_official=True))
    for before, after in zip(samples, division.samples, strict=True):
        assert after.split in {"test": ("test",), "train_val": ("train", "val")}[before.split]
    free = division.count("train") + division.count("val")
    assert abs(division.count("train") - free * 0.7 / 0.85) <= 3


def test_official_split_that_divides_a_patient_is_refused() -> None:
    first, *rest = make_samples()
    same = replace(first, file="other.png", split="test")
    with pytest.raises(SplitLeak, match="official split divides the group"):
        split_dataset(make_dataset((replace(first, split="train"), same, *rest)), Plan(keep_official=True))


def test_official_split_is_forgotten_unless_asked_for() -> None:
    samples = tuple(replace(each, split="test") for each in make_samples())
    assert split_dataset(make_dataset(samples), Plan()).count("train") > 0


def test_warnings_name_small_classes_empty_splits_and_single_sources() -> None:
    rare = tuple(Sample(f"r{n}.png", "rare", "east", None, f"r{n}", "", "") for n in range(2))
    warnings = split_dataset(make_dataset((*make_samples(), *rare)), Plan()).warnings
    assert "rare has only 2 patients or groups: it cannot be in every split." in warnings
    assert any(each.startswith("rare has no picture in ") for each in warnings)
    assert "c comes from the source east alone: no split can tell the label from the source." in warnings


def make_folder(root: Path) -> Path:
    for label in ("x", "y"):
        (root / label).mkdir(parents=True)
        for index in range(20):
            (root / label / f"{index}.png").write_bytes(f"{label}{index}".encode())
    return root


def test_written_division_is_whole_repeatable_and_never_overwritten(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training.split_files import FILES, hash_files, pack_division, write_division

    dataset = hash_files(read_dataset(make_folder(tmp_path / "data")))
    division = split_dataset(dataset, Plan())
    for name in ("one", "two"):
        write_division(division, Plan(), tmp_path / name, command="made by a test")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    facts = json.loads((tmp_path / "one" / "split.json").read_text())
    assert (facts["seed"], facts["command"]) == (42, "made by a test")
    assert facts["labels"] == {label: {"train": 14, "val": 3, "test": 3} for label in ("x", "y")}
    assert (tmp_path / "one" / "split.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(Conflict, match=r"already holds split\.csv"):
        write_division(division, Plan(), tmp_path / "one", command="again")
    pack_division(dataset, division, tmp_path / "data.zip")
    assert read_manifest(tmp_path / "data.zip") == division.samples
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert archive.read("x/3.png") == b"x3"
