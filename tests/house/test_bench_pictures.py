"""What bench/ asks for exists: each of its pictures is read and explained by the shipped model."""

from pathlib import Path

import pytest
from bench.pictures import SEEDS, write_scans

from csss.imaging.sandbox import Sandbox
from csss.inference.packaged import packaged_models
from csss.inference.read_files import predict_files
from csss.inference.shelf import Shelf


@pytest.mark.parametrize("size_px", [299, 1024])
def test_every_picture_of_the_bench_has_a_heat_map(size_px: int, tmp_path: Path, sandbox: Sandbox) -> None:
    write_scans(tmp_path, size_px)
    readings = list(predict_files([tmp_path], shelf=Shelf(packaged_models()), decoder=sandbox))
    assert len(readings) == len(SEEDS)
    assert [
        reading.error for reading in readings if reading.prediction is None or reading.prediction.heat is None
    ] == []
