"""The states of a case and the table of transitions: data, not code."""

from dataclasses import dataclass
from enum import StrEnum

from csss.accounts.tables import Role


class State(StrEnum):
    RECEIVED = "RECEIVED"
    PENDING_AI = "PENDING_AI"
    AI_RUNNING = "AI_RUNNING"
    AI_FAILED = "AI_FAILED"
    AI_ANALYZED = "AI_ANALYZED"
    DOCTOR_VERIFIED = "DOCTOR_VERIFIED"
    PHARMACIST_COMPLETED = "PHARMACIST_COMPLETED"
    APPROVED = "APPROVED"
    RENDER_FAILED = "RENDER_FAILED"
    REPORT_READY = "REPORT_READY"
    QUARANTINED = "QUARANTINED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    RETRACTED = "RETRACTED"


# How far a case is on its way; (revision, rank) rises strictly with every transition.
RANK: dict[State, int] = {
    State.RECEIVED: 0,
    State.PENDING_AI: 1,
    State.AI_RUNNING: 2,
    State.AI_FAILED: 3,
    State.AI_ANALYZED: 4,
    State.DOCTOR_VERIFIED: 5,
    State.PHARMACIST_COMPLETED: 6,
    State.APPROVED: 7,
    State.RENDER_FAILED: 8,
    State.REPORT_READY: 9,
    State.QUARANTINED: 10,
    State.REJECTED: 10,
    State.CANCELLED: 10,
    State.RETRACTED: 10,
}

# FHIR R4 DiagnosticReport.status. AI output is never "preliminary": nobody has looked at it yet.
FHIR_STATUS: dict[State, str] = {
    State.RECEIVED: "registered",
    State.PENDING_AI: "registered",
    State.AI_RUNNING: "registered",
    State.AI_FAILED: "registered",
    State.AI_ANALYZED: "registered",
    State.DOCTOR_VERIFIED: "preliminary",
    State.PHARMACIST_COMPLETED: "preliminary",
    State.APPROVED: "preliminary",
    State.RENDER_FAILED: "preliminary",
    State.REPORT_READY: "final",
    State.QUARANTINED: "cancelled",
    State.REJECTED: "cancelled",
    State.CANCELLED: "cancelled",
    State.RETRACTED: "entered-in-error",
}


class Step(StrEnum):
    """An action that moves a case."""

    ACCEPT_FILE = "accept_file"
    REFUSE_FILE = "refuse_file"
    START_AI = "start_ai"
    AI_DONE = "ai_done"
    AI_ERROR = "ai_error"
    LEASE_EXPIRED = "lease_expired"
    RETRY_AI = "retry_ai"
    READ_WITHOUT_AI = "read_without_ai"
    VERIFY = "verify"
    REJECT_SCAN = "reject_scan"
    RERUN_AI = "rerun_ai"
    CANCEL = "cancel"
    WITHDRAW = "withdraw_verification"
    COMPLETE = "complete"
    RETURN_TO_DOCTOR = "return_to_doctor"
    RETURN_TO_PHARMACIST = "return_to_pharmacist"
    APPROVE = "approve"
    RENDER_OK = "render_ok"
    RENDER_ERROR = "render_error"
    RETRY_RENDER = "retry_render"
    OPEN_AMENDMENT = "open_amendment"
    OPEN_ADDENDUM = "open_addendum"
    RETRACT = "retract"
    DISCARD_REVISION = "discard_revision"


class By(StrEnum):
    """Who takes a step: a role, or the system itself."""

    SYSTEM = "system"
    PATIENT = Role.PATIENT
    DOCTOR = Role.DOCTOR
    PHARMACIST = Role.PHARMACIST
    ADMIN = Role.ADMIN


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: the number it has in the specification, what, from, to, by whom, and how it is noted."""

    number: str
    step: Step
    source: State
    target: State
    by: frozenset[By]
    event: str
    opens_revision: bool = False
    unissued_only: bool = False
    issued_only: bool = False


def _row(number: str, step: Step, source: State, target: State, by: str, event: str, **flags: bool) -> Transition:
    return Transition(number, step, source, target, frozenset(By(name) for name in by.split()), event, **flags)


S = State
TRANSITIONS: tuple[Transition, ...] = (
    _row("02", Step.ACCEPT_FILE, S.RECEIVED, S.PENDING_AI, "system", "scan.accepted"),
    _row("03", Step.REFUSE_FILE, S.RECEIVED, S.QUARANTINED, "system", "scan.quarantined"),
    _row("04", Step.START_AI, S.PENDING_AI, S.AI_RUNNING, "system doctor", "ai.started"),
    _row("05", Step.AI_DONE, S.AI_RUNNING, S.AI_ANALYZED, "system", "ai.completed"),
    _row("06", Step.AI_ERROR, S.AI_RUNNING, S.AI_FAILED, "system", "ai.failed"),
    _row("07", Step.LEASE_EXPIRED, S.AI_RUNNING, S.AI_FAILED, "system", "ai.failed"),
    _row("08", Step.RETRY_AI, S.AI_FAILED, S.PENDING_AI, "system doctor", "ai.retried", opens_revision=True),
    _row("09", Step.READ_WITHOUT_AI, S.AI_FAILED, S.AI_ANALYZED, "doctor", "ai.bypassed"),
    _row("10", Step.VERIFY, S.AI_ANALYZED, S.DOCTOR_VERIFIED, "doctor", "report.verified"),
    _row("11", Step.REJECT_SCAN, S.AI_ANALYZED, S.REJECTED, "doctor", "scan.rejected", unissued_only=True),
    _row("12", Step.REJECT_SCAN, S.AI_FAILED, S.REJECTED, "doctor", "scan.rejected", unissued_only=True),
    _row("13", Step.RERUN_AI, S.AI_ANALYZED, S.PENDING_AI, "doctor", "ai.rerun", opens_revision=True),
    _row("14", Step.CANCEL, S.PENDING_AI, S.CANCELLED, "patient doctor", "scan.cancelled", unissued_only=True),
    _row("15", Step.CANCEL, S.AI_FAILED, S.CANCELLED, "doctor", "scan.cancelled", unissued_only=True),
    _row("16", Step.WITHDRAW, S.DOCTOR_VERIFIED, S.AI_ANALYZED, "doctor", "report.withdrawn", opens_revision=True),
    _row("17", Step.COMPLETE, S.DOCTOR_VERIFIED, S.PHARMACIST_COMPLETED, "pharmacist", "pharmacy.completed"),
    _row(
        "18",
        Step.RETURN_TO_DOCTOR,
        S.DOCTOR_VERIFIED,
        S.AI_ANALYZED,
        "pharmacist",
        "report.returned",
        opens_revision=True,
    ),
    _row(
        "19",
        Step.RETURN_TO_DOCTOR,
        S.PHARMACIST_COMPLETED,
        S.AI_ANALYZED,
        "admin doctor",
        "report.returned",
        opens_revision=True,
    ),
    _row(
        "20",
        Step.RETURN_TO_PHARMACIST,
        S.PHARMACIST_COMPLETED,
        S.DOCTOR_VERIFIED,
        "admin pharmacist",
        "pharmacy.returned",
        opens_revision=True,
    ),
    _row("21", Step.APPROVE, S.PHARMACIST_COMPLETED, S.APPROVED, "admin", "report.approved"),
    _row("22", Step.RENDER_OK, S.APPROVED, S.REPORT_READY, "system", "report.issued"),
    _row("23", Step.RENDER_ERROR, S.APPROVED, S.RENDER_FAILED, "system", "report.render_failed"),
    _row(
        "24",
        Step.RETRY_RENDER,
        S.RENDER_FAILED,
        S.APPROVED,
        "system admin",
        "report.render_retried",
        opens_revision=True,
    ),
    _row("25", Step.RETURN_TO_DOCTOR, S.RENDER_FAILED, S.AI_ANALYZED, "admin", "report.returned", opens_revision=True),
    _row("26", Step.OPEN_AMENDMENT, S.REPORT_READY, S.AI_ANALYZED, "doctor", "amendment.opened", opens_revision=True),
    _row("27", Step.OPEN_ADDENDUM, S.REPORT_READY, S.AI_ANALYZED, "doctor", "addendum.opened", opens_revision=True),
    _row("28", Step.RETRACT, S.PENDING_AI, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("29", Step.RETRACT, S.AI_RUNNING, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("30", Step.RETRACT, S.AI_FAILED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("31", Step.RETRACT, S.AI_ANALYZED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("32", Step.RETRACT, S.DOCTOR_VERIFIED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("33", Step.RETRACT, S.PHARMACIST_COMPLETED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row(
        "34",
        Step.DISCARD_REVISION,
        S.AI_ANALYZED,
        S.REPORT_READY,
        "doctor",
        "amendment.discarded",
        opens_revision=True,
        issued_only=True,
    ),
    _row("35", Step.RETRACT, S.APPROVED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("36", Step.RETRACT, S.RENDER_FAILED, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
    _row("37", Step.RETRACT, S.REPORT_READY, S.RETRACTED, "doctor admin", "report.retracted", issued_only=True),
)

# In the table, but without a verb yet: a door that is asked for one of these says so.
NOT_OPEN_YET = frozenset({Step.OPEN_AMENDMENT, Step.OPEN_ADDENDUM, Step.RETRACT, Step.DISCARD_REVISION, Step.RERUN_AI})


def find(step: Step, source: State) -> Transition | None:
    """Return the row that lets ``step`` start in ``source``, if there is one."""
    return next((row for row in TRANSITIONS if row.step is step and row.source is source), None)
