"""Our side of `bench predict`: a picture file through csss.inference to prediction or heat map."""

import argparse
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stopwatch import allowed_threads, time_side
from csss.imaging.limits import Limits
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.engines import EngineChoice
from csss.inference.read_files import Decoder, FileReader, FileReading, predict_files
from csss.inference.shelf import Model, Shelf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DecodeHere:
    """Decodes in this process, as nobody should do with the file of a stranger."""

    def decode(self, data: bytes, kind: FileKind) -> Volume:
        from csss.imaging.readers import READERS

        return READERS[kind](data, Limits())


def _prediction(reading: FileReading) -> object:
    return reading.prediction


def _layer(reading: FileReading) -> object:
    """The heat map as the screen lays it over the scan."""
    from csss.imaging.render import overlay_png

    volume, heat = _explained(reading)
    return overlay_png(heat, (volume.rows, volume.columns))


def _picture(reading: FileReading) -> object:
    """Scan and heat map as one picture file, as `csss predict --heatmap` writes it."""
    from csss.imaging.render import blend_png, to_display

    volume, heat = _explained(reading)
    return blend_png(to_display(volume), heat)


def _explained(reading: FileReading) -> tuple[Volume, "NDArray[np.float32]"]:
    if reading.volume is None or reading.prediction is None or reading.prediction.heat is None:
        raise SystemExit(f"{reading.file}: {reading.error or 'the model shows no heat map of it'}")
    return reading.volume, reading.prediction.heat


ANSWERS: dict[str, Callable[[FileReading], object]] = {
    "prediction": _prediction,
    "layer": _layer,
    "picture": _picture,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--answer", choices=ANSWERS, required=True)
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--bare", action="store_true", help="what the papers' prediction does and nothing else")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    with ExitStack() as stack:
        decoder: Decoder = DecodeHere()
        if asked.sandbox:
            from csss.imaging.sandbox import Sandbox

            decoder = stack.enter_context(Sandbox())
        shelf = Shelf(asked.models, threads=allowed_threads())
        files = itertools.cycle(sorted(asked.folder.glob("*.jpg")))
        readings: Iterator[FileReading]
        if asked.bare:
            reader = FileReader(_bare(shelf.model(asked.model)), decoder)
            readings = (reader.read(file) for file in files)
        else:
            readings = predict_files(files, shelf=shelf, decoder=decoder, model=asked.model)
        shape = ANSWERS[asked.answer]
        time_side(lambda: shape(_checked(next(readings))), asked.repeats)


def _bare(model: Model) -> Model:
    """The same network, head and rule, without gate, checks of the picture, lungs and heat map: nobody is served so."""
    hidden = replace(model.card.explanation, shown=False)
    card = replace(model.card, gate=None, quality=None, explanation=hidden)
    return Model(card, model.folder, allowed_threads(), EngineChoice())


def _checked(reading: FileReading) -> FileReading:
    if reading.error is not None:
        raise SystemExit(f"{reading.file}: {reading.error.code}: {reading.error.message}")
    return reading


if __name__ == "__main__":
    main()
