"""Plain words and shapes for what the pages show: states, steps, times, numbers, names of labels."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from csss.accounts.tables import Role
from csss.delivery.tables import DeliveryStatus
from csss.findings.tables import Analysis
from csss.pathway.states import State, Step


class Tone(StrEnum):
    """What a badge says besides its words; each tone has a shape of its own, so colour is never alone."""

    WORK = "work"  # the system is busy
    WAIT = "wait"  # somebody else has it
    ACT = "act"  # a person has to act
    WARN = "warn"  # something failed and can be mended
    DONE = "done"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Words:
    """How one state reads: for staff, and for the patient, who is told what happens and not why inside."""

    badge: str
    tone: Tone
    patient_badge: str
    patient_tone: Tone
    patient_text: str


STATES: dict[State, Words] = {
    State.RECEIVED: Words("Received", Tone.WORK, "Received", Tone.WORK, "Your scan has arrived and is being checked."),
    State.PENDING_AI: Words(
        "Waiting for AI",
        Tone.WORK,
        "Being prepared",
        Tone.WORK,
        "Your scan has arrived. It is prepared for the doctor.",
    ),
    State.AI_RUNNING: Words(
        "AI at work", Tone.WORK, "Being prepared", Tone.WORK, "Your scan has arrived. It is prepared for the doctor."
    ),
    State.AI_FAILED: Words(
        "AI failed", Tone.WARN, "Being prepared", Tone.WAIT, "Your scan has arrived. It is prepared for the doctor."
    ),
    State.AI_ANALYZED: Words(
        "To be read",
        Tone.ACT,
        "With the doctor",
        Tone.WAIT,
        "A doctor is going to look at your scan and write down what it shows.",
    ),
    State.DOCTOR_VERIFIED: Words(
        "With pharmacist",
        Tone.WAIT,
        "With the pharmacist",
        Tone.WAIT,
        "The doctor has read your scan. A pharmacist now checks whether you need medicine.",
    ),
    State.PHARMACIST_COMPLETED: Words(
        "Awaiting approval",
        Tone.WAIT,
        "Last check",
        Tone.WAIT,
        "Doctor and pharmacist are done. The report is checked before you get it.",
    ),
    State.APPROVED: Words(
        "Report being made",
        Tone.WORK,
        "Report being made",
        Tone.WORK,
        "Everything is checked. Your report is being made.",
    ),
    State.RENDER_FAILED: Words(
        "Report failed", Tone.WARN, "Report being made", Tone.WAIT, "Everything is checked. Your report is being made."
    ),
    State.REPORT_READY: Words(
        "Report issued", Tone.DONE, "Report ready", Tone.DONE, "Your report is ready. You can download it here."
    ),
    State.QUARANTINED: Words(
        "Held back", Tone.STOP, "Not accepted", Tone.STOP, "This file could not be taken in. Nothing was analysed."
    ),
    State.REJECTED: Words(
        "Rejected",
        Tone.STOP,
        "New scan needed",
        Tone.STOP,
        "The doctor could not use this scan. Contact your doctor about the next step.",
    ),
    State.CANCELLED: Words(
        "Cancelled", Tone.STOP, "Cancelled", Tone.STOP, "This scan was taken back. Nothing more happens with it."
    ),
    State.RETRACTED: Words(
        "Retracted",
        Tone.STOP,
        "Withdrawn",
        Tone.STOP,
        "This report was withdrawn. Do not rely on it; contact your doctor.",
    ),
}

WORKING = frozenset({State.RECEIVED, State.PENDING_AI, State.AI_RUNNING, State.APPROVED})
REASON_FOR_PATIENT = frozenset({State.QUARANTINED, State.REJECTED, State.CANCELLED})

STAGES = ("Received", "AI", "Doctor", "Pharmacist", "Administrator", "Report")
PATIENT_STAGES = ("Received", "Prepared", "Doctor", "Pharmacist", "Last check", "Report")
_AT: dict[State, int] = {
    State.RECEIVED: 0,
    State.PENDING_AI: 1,
    State.AI_RUNNING: 1,
    State.AI_FAILED: 1,
    State.AI_ANALYZED: 2,
    State.DOCTOR_VERIFIED: 3,
    State.PHARMACIST_COMPLETED: 4,
    State.APPROVED: 5,
    State.RENDER_FAILED: 5,
    State.REPORT_READY: 6,
    State.QUARANTINED: 0,
    State.REJECTED: 2,
    State.CANCELLED: 1,
    State.RETRACTED: 5,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One station of a case's way: ``done``, ``now``, ``stopped`` or ``ahead``."""

    name: str
    standing: str


def stages(state: State, role: Role) -> tuple[Stage, ...]:
    """Return the stations of a case, in order, each with where the case stands to it."""
    names = PATIENT_STAGES if role is Role.PATIENT else STAGES
    at = _AT[state]
    here = "stopped" if STATES[state].tone is Tone.STOP else "now"
    return tuple(
        Stage(name, "done" if place < at else here if place == at else "ahead") for place, name in enumerate(names)
    )


_EVENTS: dict[str, tuple[str, str | None]] = {
    # step: words for staff, words for the patient (None: the patient is not shown this)
    "upload": ("Scan received", "Scan received"),
    Step.ACCEPT_FILE: ("File checked and accepted", None),
    Step.REFUSE_FILE: ("File held back", "File not accepted"),
    Step.START_AI: ("AI started", None),
    Step.AI_DONE: ("AI result ready", "Prepared for the doctor"),
    Step.AI_ERROR: ("AI failed", None),
    Step.LEASE_EXPIRED: ("AI interrupted", None),
    Step.RETRY_AI: ("AI asked again", None),
    Step.READ_WITHOUT_AI: ("To be read without AI", "Prepared for the doctor"),
    Step.VERIFY: ("Reading signed", "Read and signed by the doctor"),
    Step.REJECT_SCAN: ("Scan rejected", "A new scan is needed"),
    Step.RERUN_AI: ("AI asked again", None),
    Step.CANCEL: ("Scan cancelled", "Scan cancelled"),
    Step.WITHDRAW: ("Signature withdrawn", None),
    Step.COMPLETE: ("Pharmacy completed", "Checked by the pharmacist"),
    Step.RETURN_TO_DOCTOR: ("Returned to the doctor", None),
    Step.RETURN_TO_PHARMACIST: ("Returned to the pharmacist", None),
    Step.APPROVE: ("Report approved", "Released"),
    Step.RENDER_OK: ("Report issued", "Report ready"),
    Step.RENDER_ERROR: ("Report could not be made", None),
    Step.RETRY_RENDER: ("Report asked for again", None),
    Step.OPEN_AMENDMENT: ("Amendment opened", None),
    Step.OPEN_ADDENDUM: ("Addendum opened", None),
    Step.RETRACT: ("Report retracted", "Report withdrawn"),
    Step.DISCARD_REVISION: ("Amendment discarded", None),
}

ROLE_NAMES: dict[str, str] = {
    "patient": "Patient",
    "doctor": "Doctor",
    "pharmacist": "Pharmacist",
    "admin": "Administrator",
    "system": "System",
    "none": "Nobody",
}

MODALITIES: dict[str, str] = {
    "DX": "X-ray",
    "CR": "X-ray",
    "CT": "CT",
    "MR": "MRI",
    "US": "Ultrasound",
    "OT": "Picture",
}

REASONS_UNCERTAIN: dict[str, str] = {
    "low-confidence": "No class is likely enough: the highest probability is below the threshold.",
    "set-of-two": "A second class cannot be ruled out.",
    "out-of-distribution": "The picture is unlike those the model was made from, so its numbers mean little.",
    "quality": "The picture has a fault that makes a reading unsafe.",
}

DELIVERIES: dict[DeliveryStatus, tuple[str, Tone]] = {
    DeliveryStatus.QUEUED: ("Queued", Tone.WORK),
    DeliveryStatus.SENDING: ("Being sent", Tone.WORK),
    DeliveryStatus.RETRY: ("Will be tried again", Tone.WARN),
    DeliveryStatus.SENT: ("Sent", Tone.DONE),
    DeliveryStatus.DEAD: ("Not delivered", Tone.STOP),
    DeliveryStatus.REVOKED: ("Called back", Tone.STOP),
}


def event_words(step: str, role: Role) -> str | None:
    """Return what a line of the timeline says to this role, or None when it is not for them."""
    staff, patient = _EVENTS.get(step, (step.replace("_", " ").capitalize(), None))
    return patient if role is Role.PATIENT else staff


def examination(modality: str | None, body_part: str | None) -> str:
    """Return an examination in words, such as "X-ray, chest"; "Scan" when nothing is known."""
    what = MODALITIES.get(modality or "", modality or "Scan")
    return f"{what}, {body_part.replace('_', ' ').lower()}" if body_part else what


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago ``then`` was, in few words; a time ahead reads "in 5 min"."""
    gap = now - then
    if gap < timedelta(0):
        return "soon" if -gap < timedelta(minutes=1) else f"in {_span(-gap)}"
    return "just now" if gap < timedelta(minutes=1) else f"{_span(gap)} ago"


def _span(gap: timedelta) -> str:
    minutes = int(gap.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def exact(moment: datetime) -> str:
    """Return a moment in full, with its zone."""
    return moment.astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with one decimal; never rounded up to certainty or down to nothing."""
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share * 100:.1f} %"


def size(size_bytes: int) -> str:
    """Return a number of bytes for people."""
    if size_bytes < 1024 * 1024:
        return f"{max(1, round(size_bytes / 1024))} kB"
    return f"{size_bytes / (1024 * 1024):.3g} MB"


def label_text(analysis: Analysis, name: str) -> str:
    """Return a label's words for people, as the model's card gave them when it answered."""
    return analysis.label_texts.get(name, name.replace("_", " "))
