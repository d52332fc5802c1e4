"""What the doors are given by the composition root, once for the whole application."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.requests import HTTPConnection

from csss.accounts.sign_in import SignInDesk
from csss.accounts.step_up import SendCode
from csss.delivery.send import Site as DeliverySite
from csss.foundation.settings import Settings
from csss.foundation.work import WorkShop
from csss.imaging.limits import Limits
from csss.inference.shelf import Shelf
from csss.pathway.signing import Site
from csss.studies.receive import Decode


@dataclass(frozen=True, slots=True)
class Parts:
    """The application's parts; every door reads them from ``request.app.state.parts``."""

    settings: Settings
    shop: WorkShop
    desk: SignInDesk
    shelf: Shelf
    decode: Decode
    limits: Limits
    site: Site
    delivery_site: DeliverySite
    send_code: SendCode


def install(app: FastAPI, parts: Parts) -> None:
    """Give an application its parts."""
    app.state.parts = parts


def parts_of(connection: HTTPConnection) -> Parts:
    """Return the parts of the application that serves this request."""
    parts: Parts = connection.app.state.parts
    return parts


def get_parts(request: Request) -> Parts:
    """The same, as a dependency."""
    return parts_of(request)


PartsDep = Annotated[Parts, Depends(get_parts)]
