"""What every test of `csss predict` needs."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """The command line changes the umask of its process."""
    before = os.umask(0o022)
    yield
    os.umask(before)
