"""JSON routes: register, confirm, sign in and out, who am I."""

from fastapi import APIRouter

from csss import patients
from csss.accounts import joining, sign_in
from csss.accounts.joining import Applicant
from csss.accounts.tables import SessionKind
from csss.entrypoints.api.shapes.people import Accepted, ConfirmForm, LoginForm, Me, RegisterForm, Token
from csss.entrypoints.http.actor import ActorDep, OriginDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep

router = APIRouter(prefix="/auth", tags=["auth"])


@router.post("/register", status_code=202)
def register(form: RegisterForm, work: WorkDep, parts: PartsDep, origin: OriginDep) -> Accepted:
    """Register as a patient. A mail with a link follows; the answer is the same whether the address is known or not."""
    applicant = Applicant(**form.model_dump())
    joining.register(
        work, applicant, passwords=parts.desk.passwords, origin=origin, can_mail=parts.settings.smtp.configured
    )
    return Accepted(status="confirmation-mailed")


@router.post("/confirm", status_code=201)
def confirm(form: ConfirmForm, work: WorkDep, parts: PartsDep, origin: OriginDep) -> Me:
    """Open the registered account: the token of the mailed link and the password that was chosen."""
    user, patient = patients.confirm_registration(
        work, token=form.token, password=form.password, passwords=parts.desk.passwords, origin=origin
    )
    return Me(id=user.id, email=user.email, name=user.name, role=user.role, patient_id=patient.id)


@router.post("/login")
def login(form: LoginForm, work: WorkDep, parts: PartsDep, origin: OriginDep) -> Token:
    """Sign in for 60 minutes. Wrong password or code: 401, and after five failures a growing wait (429)."""
    signed_in = parts.desk.sign_in(
        work, email=form.email, password=form.password, code=form.code, origin=origin, kind=SessionKind.API
    )
    return Token(
        access_token=signed_in.secret,
        expires_in=int(signed_in.lifetime.total_seconds()),
        user=Me.of(signed_in.actor, patients.of_user(work, signed_in.actor.user_id)),
    )


@router.post("/logout", status_code=204)
def logout(work: WorkDep, actor: ActorDep) -> None:
    """End this session at once; its token is worth nothing from now on."""
    sign_in.sign_out(work, actor)


@router.get("/me")
def me(work: WorkDep, actor: ActorDep) -> Me:
    """Who is signed in."""
    return Me.of(actor, patients.of_user(work, actor.user_id))
