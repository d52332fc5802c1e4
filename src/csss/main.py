"""Build the web application and its worker from the settings (composition root)."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import Engine

from csss import __version__, audit
from csss.accounts import joining, throttle
from csss.accounts.passwords import Passwords
from csss.accounts.sign_in import SignInDesk
from csss.delivery import letters, send
from csss.delivery.channels import open_channels
from csss.delivery.send import Site as DeliverySite
from csss.entrypoints.api import routes as api
from csss.entrypoints.http.errors import add_error_handlers
from csss.entrypoints.http.guards import add_guards
from csss.entrypoints.http.parts import Parts, install
from csss.entrypoints.oip import routes as oip
from csss.entrypoints.oip.by_site import BySite
from csss.entrypoints.web import pages as web
from csss.foundation.blobs import BlobStore
from csss.foundation.clock import Clock, SystemClock
from csss.foundation.database import open_engine, sessions
from csss.foundation.logs import log
from csss.foundation.settings import Settings
from csss.foundation.thresholds import find_unknown
from csss.foundation.vault import Vault
from csss.foundation.work import Work, WorkShop
from csss.imaging.limits import Limits
from csss.imaging.sandbox import Sandbox
from csss.inference.engines import EngineChoice
from csss.inference.packaged import packaged_models
from csss.inference.shelf import Shelf
from csss.pathway import issuing, reading, shadowing, signing, submit
from csss.pathway.signing import Site
from csss.reports.seal import SigningIdentity, make_site_identity
from csss.worker import Handler, Worker

_logger = log("main")


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything a process of CSSS is made of."""

    settings: Settings
    engine: Engine
    shop: WorkShop
    sandbox: Sandbox
    shelf: Shelf
    identity: SigningIdentity
    parts: Parts
    handlers: Mapping[str, Handler]

    def worker(self) -> Worker:
        """Return the worker that runs this site's jobs; start it yourself."""
        return Worker(self.shop, self.handlers, queue_url=self.settings.jobs_url, tend=self.tend)

    def tend(self, work: Work) -> None:
        """Look after what could have been left behind; a worker calls it now and then."""
        submit.assign_waiting(work)
        joining.purge(work)
        throttle.purge(work)
        issuing.watch(work)
        audit.keep_checkpoint(work, self.settings.data_dir / audit.CHECKPOINTS, self.settings.secret_key)

    def close(self) -> None:
        """Give back processes and connections."""
        self.sandbox.close()
        self.engine.dispose()


def assemble(settings: Settings, *, clock: Clock | None = None) -> Assembly:
    """Put the parts together; opens the database but does not touch its schema."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_engine(settings.database_url)
    shop = WorkShop(
        make_session=sessions(engine),
        blobs=BlobStore(settings.blob_url, Vault(settings.keys())),
        clock=clock or SystemClock(),
    )
    choice = EngineChoice.of(settings.inference.engine, settings.remote.addresses(), settings.remote.tokens_by_name())
    shelf = Shelf(settings.model_path or packaged_models(), engines=choice)
    for problem in shelf.take_off_failing():
        _logger.error("model refused", extra={"model": problem.folder, "code": problem.code})
    if trouble := find_unknown(settings.thresholds(), shelf.reading_names()):
        # The rest of the site goes on; `csss check` fails.
        _logger.error("threshold of no model", extra={"code": trouble.code, **trouble.facts})
    sandbox = Sandbox()
    channels = open_channels(settings)
    site = Site(hospital_name=settings.hospital_name, approval=settings.approval)
    delivery_site = DeliverySite(hospital_name=settings.hospital_name, base_url=settings.base_url)
    identity = signing_identity(settings, shop.clock)
    parts = Parts(
        settings=settings,
        shop=shop,
        desk=SignInDesk(Passwords(settings.argon2_profile), settings.sessions, settings.secret_key),
        shelf=shelf,
        decode=sandbox.decode,
        limits=Limits(),
        site=site,
        delivery_site=delivery_site,
        send_code=partial(letters.send_code, channels["email"], delivery_site),
    )
    handlers: dict[str, Handler] = {
        submit.ANALYSE: partial(reading.analyse, shelf=shelf, thresholds=settings.thresholds()),
        shadowing.SHADOW: partial(shadowing.run_shadow, shelf=shelf, thresholds=settings.thresholds()),
        signing.ISSUE: partial(issuing.issue, site=site, identity=identity),
        send.DELIVER: partial(send.deliver, channels=channels, site=delivery_site),
        joining.REGISTRATION_MAIL: partial(letters.mail_registration, channel=channels["email"], site=delivery_site),
        joining.LINK_MAIL: partial(letters.mail_link, channel=channels["email"], site=delivery_site),
        joining.KNOWN_MAIL: partial(letters.mail_already_registered, channel=channels["email"], site=delivery_site),
    }
    return Assembly(settings, engine, shop, sandbox, shelf, identity, parts, handlers)


def signing_identity(settings: Settings, clock: Clock) -> SigningIdentity:
    """Return the key that signs reports: the site's PKCS#12 file, or one made at the first start and kept."""
    if settings.signing.pkcs12 is not None:
        password = (settings.signing.password or "").encode()
        return SigningIdentity.from_pkcs12(settings.signing.pkcs12.read_bytes(), password)
    folder = settings.data_dir / "keys"
    bundle, word = folder / "signing.p12", folder / "signing.password"
    if not bundle.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = secrets.token_urlsafe(32)
        made = make_site_identity(settings.hospital_name, password=secret.encode(), made_at=clock.now())
        _write_private(word, secret.encode())
        _write_private(bundle, made)
    return SigningIdentity.from_pkcs12(bundle.read_bytes(), word.read_bytes())


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def create_app(assembly: Assembly, *, with_worker: bool = True) -> FastAPI:
    """Return the application: pages, JSON API and health on one port, with the worker in the same process."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not with_worker:
            yield
            return
        with assembly.worker():
            yield

    settings = assembly.settings
    app = FastAPI(
        title="CSSS",
        version=__version__,
        summary="Clinical Scan Support System: a medical scan from upload to a signed, delivered report",
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    install(app, assembly.parts)
    app.state.mail_catcher = None
    add_error_handlers(app)
    add_guards(app)
    api.mount(app)
    web.mount(app)
    if settings.inference.token:
        chooser = BySite(assembly.shop, assembly.shelf, settings.thresholds())
        oip.mount(app, oip.Served(assembly.shelf, settings.inference.token, chooser))
    return app
