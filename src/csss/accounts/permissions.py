"""Who may do what: the permission matrix as one table.

The table says which role may try an action at all, and over which objects. Whether a person stands in that
relation to one case is decided in ``pathway.access``, from the case and the sign-offs on it.
"""

from enum import StrEnum

from csss.accounts.actor import Actor
from csss.accounts.tables import Role
from csss.foundation.errors import Forbidden


class Action(StrEnum):
    REGISTER_PATIENT = "register_patient"
    UPLOAD_SCAN = "upload_scan"
    LIST_SCANS = "list_scans"
    VIEW_SCAN = "view_scan"
    VIEW_IMAGE = "view_image"
    VIEW_AI = "view_ai"
    RUN_AI = "run_ai"
    VERIFY = "verify"
    REJECT_SCAN = "reject_scan"
    CANCEL_SCAN = "cancel_scan"
    COMPLETE = "complete"
    RETURN_TO_DOCTOR = "return_to_doctor"
    RETURN_TO_PHARMACIST = "return_to_pharmacist"
    STEP_UP = "step_up"
    APPROVE = "approve"
    RETRY_RENDER = "retry_render"
    VIEW_REPORT = "view_report"
    REVEAL_PASSWORD = "reveal_password"  # noqa: S105 - the name of an action
    RESEND_REPORT = "resend_report"
    VIEW_PATIENTS = "view_patients"
    AMEND_RECORD = "amend_record"
    MANAGE_USERS = "manage_users"
    READ_AUDIT = "read_audit"
    SEE_OPERATIONS = "see_operations"
    MANAGE_MODELS = "manage_models"
    OWN_ACCOUNT = "own_account"


class Relation(StrEnum):
    """Over which objects a role may do an action."""

    OWN = "own"  # the patient's own record
    IN_CARE = "in_care"  # a doctor's patients
    IN_PHARMACY = "in_pharmacy"  # cases in the pharmacy's hands, and those this pharmacist completed
    AWAITING_APPROVAL = "awaiting_approval"  # cases before an administrator, and those this one approved
    ANY = "any"


P, D, H, A = Role.PATIENT, Role.DOCTOR, Role.PHARMACIST, Role.ADMIN

PERMISSIONS: dict[Action, dict[Role, Relation]] = {
    Action.REGISTER_PATIENT: {D: Relation.ANY},
    Action.UPLOAD_SCAN: {P: Relation.OWN, D: Relation.IN_CARE},
    Action.LIST_SCANS: {
        P: Relation.OWN,
        D: Relation.IN_CARE,
        H: Relation.IN_PHARMACY,
        A: Relation.AWAITING_APPROVAL,
    },
    Action.VIEW_SCAN: {
        P: Relation.OWN,
        D: Relation.IN_CARE,
        H: Relation.IN_PHARMACY,
        A: Relation.AWAITING_APPROVAL,
    },
    Action.VIEW_IMAGE: {
        P: Relation.OWN,
        D: Relation.IN_CARE,
        H: Relation.IN_PHARMACY,
        A: Relation.AWAITING_APPROVAL,
    },
    Action.VIEW_AI: {P: Relation.OWN, D: Relation.IN_CARE, H: Relation.IN_PHARMACY, A: Relation.AWAITING_APPROVAL},
    Action.RUN_AI: {D: Relation.IN_CARE},
    Action.VERIFY: {D: Relation.IN_CARE},
    Action.REJECT_SCAN: {D: Relation.IN_CARE},
    Action.CANCEL_SCAN: {P: Relation.OWN, D: Relation.IN_CARE},
    Action.COMPLETE: {H: Relation.IN_PHARMACY},
    Action.RETURN_TO_DOCTOR: {
        D: Relation.IN_CARE,
        H: Relation.IN_PHARMACY,
        A: Relation.AWAITING_APPROVAL,
    },
    Action.RETURN_TO_PHARMACIST: {H: Relation.IN_PHARMACY, A: Relation.AWAITING_APPROVAL},
    Action.STEP_UP: {A: Relation.AWAITING_APPROVAL},
    Action.APPROVE: {A: Relation.AWAITING_APPROVAL},
    Action.RETRY_RENDER: {A: Relation.AWAITING_APPROVAL},
    Action.VIEW_REPORT: {
        P: Relation.OWN,
        D: Relation.IN_CARE,
        H: Relation.IN_PHARMACY,
        A: Relation.AWAITING_APPROVAL,
    },
    Action.REVEAL_PASSWORD: {P: Relation.OWN},
    Action.RESEND_REPORT: {P: Relation.OWN, D: Relation.IN_CARE, A: Relation.ANY},
    Action.VIEW_PATIENTS: {D: Relation.IN_CARE},
    Action.AMEND_RECORD: {D: Relation.IN_CARE},
    Action.MANAGE_USERS: {A: Relation.ANY},
    Action.READ_AUDIT: {A: Relation.ANY},
    Action.SEE_OPERATIONS: {A: Relation.ANY},
    Action.MANAGE_MODELS: {A: Relation.ANY},
    Action.OWN_ACCOUNT: {P: Relation.OWN, D: Relation.OWN, H: Relation.OWN, A: Relation.OWN},
}


def require(actor: Actor, action: Action) -> Relation:
    """Return over which objects this person's role may do ``action``; raises `Forbidden` for none."""
    relation = PERMISSIONS[action].get(actor.role)
    if relation is None:
        raise Forbidden(f"Your role ({actor.role}) does not include this.", code="wrong-role")
    return relation
