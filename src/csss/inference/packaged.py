"""Where the models are that come with this package."""

from pathlib import Path


def packaged_models() -> Path:
    """Return the installed package's own shelf, or the one of the source tree it runs from."""
    installed = Path(__file__).parents[1] / "models"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "models"
