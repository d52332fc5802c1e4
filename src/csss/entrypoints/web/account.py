"""Pages: the own account and its sessions."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from csss import patients
from csss.accounts.permissions import Action, require
from csss.accounts.sign_in import end_session, own_sessions
from csss.entrypoints.http.actor import ActorDep, clear_session_cookie
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.forms import CSRF
from csss.entrypoints.web.rendering import go, page

router = APIRouter(include_in_schema=False)


@router.get("/account")
def account(request: Request, work: WorkDep, actor: ActorDep) -> Response:
    """Show who is signed in, and where."""
    require(actor, Action.OWN_ACCOUNT)
    return page(
        request,
        "account/account.html",
        now=work.clock.now(),
        sessions=own_sessions(work, actor),
        record=patients.of_user(work, actor.user_id),
    )


@router.post("/account/sessions/{session_id}/end", dependencies=CSRF)
def end(request: Request, session_id: UUID, work: WorkDep, parts: PartsDep, actor: ActorDep) -> Response:
    """Close one of the own sessions; closing this one signs out."""
    require(actor, Action.OWN_ACCOUNT)
    end_session(work, actor, session_id=session_id)
    if session_id != actor.session_id:
        return go(request, "/account", flash="session-closed")
    response = go(request, "/sign-in", flash="signed-out")
    clear_session_cookie(response, parts.settings)
    return response
