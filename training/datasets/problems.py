"""The refusals of the readers: what was found and what was expected."""

from csss.foundation.errors import Unprocessable


class UnreadableDataset(Unprocessable):
    """The folder or zip has none of the known layouts, or breaks the rules of its own."""

    code = "unreadable-dataset"


def quote_some(names: list[str], *, limit: int = 5) -> str:
    """The first names in quotes and how many more there are."""
    shown = ", ".join(f'"{name}"' for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
