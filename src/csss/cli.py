"""Commands: serve, work, migrate, demo, demo-links, check, user, predict, infer."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from csss.foundation.errors import CsssError
from csss.foundation.legible import legible

DEMO_FOLDER = Path("var/demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 good, 1 found a problem, 2 could not run)."""
    options = _parser().parse_args(arguments)
    # Read when numpy is imported, which only happens below: threads for products this small cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.umask(0o077)  # whatever is written here is for this account's eyes
    try:
        return int(options.run(options) or 0)
    except CsssError as problem:
        print(f"csss: {legible(problem.message)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="csss", description="Clinical Scan Support System")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve pages and API on one port, with a worker in the same process")
    serve.add_argument("--no-worker", action="store_true", help="leave the jobs to `csss work` processes")
    serve.set_defaults(run=_serve)

    work = commands.add_parser("work", help="run jobs only (analysis, reports, mail)")
    work.add_argument("--once", action="store_true", help="run what is due, then stop")
    work.set_defaults(run=_work)

    migrate = commands.add_parser("migrate", help="bring the database to the newest schema")
    migrate.set_defaults(run=_migrate)

    demo = commands.add_parser("demo", help="serve the whole product with demo people and scans")
    demo.add_argument("--port", type=int, default=8000)
    demo.add_argument("--data-dir", type=Path, default=DEMO_FOLDER)
    demo.add_argument("--reset", action="store_true", help="remove the demo's data first")
    demo.set_defaults(run=_demo)

    links = commands.add_parser("demo-links", help="print new one-time sign-in links of the demo people")
    links.add_argument("--port", type=int, default=8000)
    links.add_argument("--data-dir", type=Path, default=DEMO_FOLDER)
    links.set_defaults(run=_demo_links)

    check = commands.add_parser("check", help="configuration, database, models, keys, mail, disk: a line each")
    check.set_defaults(run=_check)

    user = commands.add_parser("user", help="invite staff, print one-time links").add_subparsers(
        required=True, metavar="ACTION"
    )
    invite = user.add_parser("invite", help="print a one-time link with which a new member of staff joins")
    invite.add_argument("--email", required=True)
    invite.add_argument("--role", required=True, choices=("doctor", "pharmacist", "admin"))
    invite.set_defaults(run=_invite)
    link = user.add_parser("link", help="print a one-time link with which a person sets a new password")
    link.add_argument("--email", required=True)
    link.set_defaults(run=_link)

    _add_predict(commands)
    _add_infer(commands)
    return parser


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser("predict", help="the AI alone on files or folders: no server, no database")
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE")
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object a line and file")
    output.add_argument("--csv", type=Path, metavar="OUT", help="write a table")
    predict.add_argument("--jobs", type=_count, default=1, metavar="N", help="read in N processes at once")
    predict.add_argument(
        "--labels", type=Path, metavar="CSV", help="measure against known labels (columns file, label)"
    )
    predict.add_argument("--split", metavar="NAME", help="read only the files whose row of the labels has this split")
    predict.add_argument("--summary", type=Path, metavar="OUT", help="write the measurement as JSON, too")
    predict.add_argument("--heatmap", type=Path, metavar="DIR", help="write FILE.heatmap.png for each file")
    predict.add_argument("--model", default="chest-mobilenetv2")
    predict.add_argument("--models", type=Path, help="another shelf of models")
    predict.add_argument("--modality", default="DX", help="for files that do not say it (default DX)")
    predict.add_argument("--body-part", default="CHEST", help="for files that do not say it (default CHEST)")
    predict.set_defaults(run=_predict)


def _add_infer(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    infer = commands.add_parser("infer", help="serve the models alone by the Open Inference Protocol: no database")
    infer.add_argument("--host", default="127.0.0.1", help="where to listen (default this machine only)")
    infer.add_argument("--port", type=int, default=8001)
    infer.add_argument("--models", type=Path, help="another shelf of models")
    infer.set_defaults(run=_infer)


def _serve(options: argparse.Namespace) -> int:
    import uvicorn

    from csss.foundation.logs import set_up_logs
    from csss.foundation.settings import load_settings
    from csss.main import assemble, create_app

    set_up_logs()
    settings = load_settings()
    assembly = assemble(settings)
    try:
        _demand_schema(assembly.engine)
        app = create_app(assembly, with_worker=not options.no_worker)
        # Who a request comes from is decided by CSSS_TRUSTED_PROXIES alone (entrypoints/http/actor).
        uvicorn.run(
            app, host=settings.host, port=settings.port, log_config=None, server_header=False, proxy_headers=False
        )
    finally:
        assembly.close()
    return 0


def _demand_schema(engine: object) -> None:
    from sqlalchemy import Engine

    from csss.foundation.errors import Unavailable
    from csss.migrations import is_current

    assert isinstance(engine, Engine)  # noqa: S101 - said for the type checker; imported late to start fast
    if not is_current(engine):
        raise Unavailable("The database does not have this version's schema. Run: csss migrate")


def _work(options: argparse.Namespace) -> int:
    import signal
    import threading

    from csss.foundation.logs import set_up_logs
    from csss.foundation.settings import load_settings
    from csss.main import assemble
    from csss.worker import run_due

    set_up_logs()
    assembly = assemble(load_settings())
    try:
        _demand_schema(assembly.engine)
        if options.once:
            print(f"{run_due(assembly.shop, assembly.handlers)} jobs done")
            return 0
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with assembly.worker():
            stop.wait()
    finally:
        assembly.close()
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from csss.foundation.database import open_engine
    from csss.foundation.settings import load_settings
    from csss.migrations import migrate

    settings = load_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate(open_engine(settings.database_url))
    print("The database has the newest schema.")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from csss.demo.run import run_demo

    run_demo(port=options.port, data_dir=options.data_dir.absolute(), reset=options.reset)
    return 0


def _demo_links(options: argparse.Namespace) -> int:
    from csss.demo.people import sign_in_links
    from csss.demo.run import demo_environment
    from csss.foundation.settings import load_settings
    from csss.main import assemble

    folder = options.data_dir.absolute()
    assembly = assemble(load_settings(demo_environment(port=options.port, data_dir=folder, smtp_port=25)))
    try:
        _demand_schema(assembly.engine)
        for user, address in sign_in_links(assembly.parts):
            print(f"{user.role:<11} {user.name:<22} {address}")
    finally:
        assembly.close()
    return 0


def _check(_: argparse.Namespace) -> int:
    from csss.check import run_checks

    return run_checks(sys.stdout)


def _invite(options: argparse.Namespace) -> int:
    from csss.accounts.joining import invite
    from csss.accounts.tables import Role
    from csss.foundation.settings import load_settings
    from csss.main import assemble

    assembly = assemble(load_settings())
    try:
        _demand_schema(assembly.engine)
        with assembly.shop.work() as work:
            secret = invite(work, None, email=options.email, role=Role(options.role))
        print("This link works once, within 24 hours. Hand it to that person only:")
        print(f"{assembly.settings.base_url}/link/{secret}")
    finally:
        assembly.close()
    return 0


def _link(options: argparse.Namespace) -> int:
    from sqlalchemy import select

    from csss.accounts.joining import clean_email, reset_link
    from csss.accounts.tables import User
    from csss.foundation.errors import NotFound
    from csss.foundation.settings import load_settings
    from csss.main import assemble

    assembly = assemble(load_settings())
    try:
        _demand_schema(assembly.engine)
        with assembly.shop.work() as work:
            user_id = work.session.scalar(select(User.id).where(User.email == clean_email(options.email)))
            if user_id is None:
                raise NotFound("Nobody has this address.")
            secret = reset_link(work, None, user_id=user_id)
        print("This link works once, within 24 hours. Hand it to that person only:")
        print(f"{assembly.settings.base_url}/link/{secret}")
    finally:
        assembly.close()
    return 0


def _predict(options: argparse.Namespace) -> int:
    from csss.foundation.settings import load_model_settings
    from csss.inference.engines import EngineChoice
    from csss.predict.command import PredictOptions, run_predict

    settings = load_model_settings()
    asked = PredictOptions(
        paths=tuple(options.files),
        json=options.json,
        csv=options.csv,
        heat_maps=options.heatmap,
        model=options.model,
        models=options.models or settings.model_path,
        modality=options.modality,
        body_part=options.body_part,
        jobs=options.jobs,
        labels=options.labels,
        split=options.split,
        summary=options.summary,
        engines=EngineChoice.of(
            settings.inference.engine, settings.remote.addresses(), settings.remote.tokens_by_name()
        ),
        thresholds=settings.thresholds(),
    )
    try:
        return run_predict(asked, sys.stdout, sys.stderr)
    except BrokenPipeError:
        # Whoever read our output has enough (`| head`); at the end Python would try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _infer(options: argparse.Namespace) -> int:
    from csss.entrypoints.oip.alone import serve_models
    from csss.foundation.logs import set_up_logs
    from csss.foundation.settings import load_model_settings

    set_up_logs()
    serve_models(load_model_settings(), models=options.models, host=options.host, port=options.port)
    return 0


def _count(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
