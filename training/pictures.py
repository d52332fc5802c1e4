"""Keep all pictures of a folder or zip decoded and stretched to the input size in one file."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import InputSpec
from csss.inference.prepare import choose_frame, stretch
from training.archive import Sample, fingerprint, read_grey
from training.datasets.files import Files


def cache_pictures(data: Path, samples: tuple[Sample, ...], spec: InputSpec, *, folder: Path) -> NDArray[np.uint8]:
    """Every picture as the levels that `csss.inference.prepare` would normalise, uint8 (n, rows, columns).

    The file is named by the data, the framing and the size and appears only when it is whole.
    """
    size = (spec.width_px, spec.height_px)
    path = folder / f"pictures-{fingerprint(samples)[:12]}-{spec.framing}-{size[0]}x{size[1]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        rows = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(samples), size[1], size[0]))
        with Files(data) as archive:
            for index, sample in enumerate(samples):
                grey = read_grey(archive, sample)
                rows[index] = stretch(grey, spec, choose_frame(grey, spec))
                if index % 1000 == 0:
                    print(f"pictures {index}/{len(samples)}", file=sys.stderr, flush=True)
        rows.flush()
        partial.replace(path)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded
