"""One request, one Work, committed before the answer leaves."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request

from csss.entrypoints.http.parts import parts_of
from csss.foundation.work import Work


def open_work(request: Request) -> Iterator[Work]:
    """Open the unit of work of this request.

    Scope "function" below: the commit happens when the route returns, not after the response was sent, so a
    failed commit can never follow a 200.
    """
    with parts_of(request).shop.work() as work:
        yield work


WorkDep = Annotated[Work, Depends(open_work, scope="function")]
