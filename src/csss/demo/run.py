"""Run the demo: settings, mail catcher, schema, people, server, and where to go."""

import errno
import os
import shutil
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from csss.demo.mail_catcher import MailCatcher
from csss.demo.people import seed, sign_in_links
from csss.foundation.errors import Unavailable
from csss.foundation.logs import set_up_logs
from csss.foundation.settings import load_settings
from csss.main import Assembly, assemble, create_app
from csss.migrations import migrate

HOST = "127.0.0.1"
_CHOOSABLE = frozenset(
    {
        "CSSS_HOSPITAL_NAME",
        "CSSS_APP_NAME",
        "CSSS_APPROVAL_EMAIL_CODE",
        "CSSS_SESSIONS_IDLE_MINUTES",
        "CSSS_CONFIDENCE_THRESHOLD",
        "CSSS_CRITICAL_PHONE",
        "CSSS_MODEL_PATH",
    }
)


def run_demo(*, port: int, data_dir: Path, reset: bool) -> None:
    """Serve the whole product from one folder until interrupted; raises `Unavailable` when the port is taken."""
    if reset and data_dir.exists():
        shutil.rmtree(data_dir)
    listener = _listen(port)
    port = listener.getsockname()[1]
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    catcher = MailCatcher(data_dir / "mail")
    smtp_port = catcher.start()
    try:
        assembly = assemble(load_settings(demo_environment(port=port, data_dir=data_dir, smtp_port=smtp_port)))
        try:
            app = prepare(assembly, catcher)
            set_up_logs("WARNING")
            config = uvicorn.Config(
                app, log_config=None, server_header=False, proxy_headers=False, timeout_graceful_shutdown=5
            )
            _Announcing(config, assembly).run(sockets=[listener])
        finally:
            assembly.close()
    finally:
        catcher.stop()


def demo_environment(*, port: int, data_dir: Path, smtp_port: int) -> dict[str, str]:
    """Return the settings of a demo; what the person set in the environment comes first.

    But never where data lives and which keys open it: a demo must not touch a real site.
    """
    chosen = {name: value for name, value in os.environ.items() if name in _CHOOSABLE}
    return {
        "CSSS_HOSPITAL_NAME": "Phantom General Hospital (demo)",
        "CSSS_APPROVAL_EMAIL_CODE": "true",
        "CSSS_SESSIONS_IDLE_MINUTES": "60",
        **chosen,
        "CSSS_ENVIRONMENT": "demo",
        "CSSS_BASE_URL": f"http://{HOST}:{port}",
        "CSSS_PORT": str(port),
        "CSSS_DATA_DIR": str(data_dir),
        "CSSS_SMTP_HOST": HOST,
        "CSSS_SMTP_PORT": str(smtp_port),
        "CSSS_SMTP_STARTTLS": "false",
        "CSSS_SMTP_SENDER": "reports@demo.invalid",
    }


def prepare(assembly: Assembly, catcher: MailCatcher) -> FastAPI:
    """Make schema and demo data and return the application."""
    migrate(assembly.engine)
    seed(assembly.parts)
    app = create_app(assembly)
    app.state.mail_catcher = catcher
    return app


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            words = f"Port {port} is in use. Stop what listens there, or choose another: make demo PORT=8001"
            raise Unavailable(words) from None
        raise
    listener.listen()
    return listener


class _Announcing(uvicorn.Server):
    """Says where it serves once it really does."""

    def __init__(self, config: uvicorn.Config, assembly: Assembly) -> None:
        super().__init__(config)
        self._assembly = assembly

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _say_where(self._assembly)


def _say_where(assembly: Assembly) -> None:
    base = assembly.settings.base_url
    lines = [
        "",
        f"CSSS is ready at {base}",
        f"Mail of the demo:   {base}/mail",
        "",
        "Sign in as (each link works once; `csss demo-links` prints new ones):",
        *(f"  {user.role:<11} {user.name:<22} {link}" for user, link in sign_in_links(assembly.parts)),
        "",
        f"Data is kept in {assembly.settings.data_dir}; `make demo-reset` removes it. Stop with Ctrl+C.",
        "",
    ]
    print("\n".join(lines), file=sys.stdout, flush=True)
