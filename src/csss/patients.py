"""Patient records: register, find, who cares for whom, and the numbers that other systems know them by."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from csss import audit
from csss.accounts import joining
from csss.accounts.actor import Actor
from csss.accounts.passwords import Passwords
from csss.accounts.permissions import Action, require
from csss.accounts.sign_in import Origin
from csss.accounts.tables import Role, User
from csss.foundation.database import Base
from csss.foundation.errors import Conflict, NotFound, Unprocessable
from csss.foundation.ids import new_id, new_number
from csss.foundation.work import Work


class Patient(Base):
    """One person who is examined; ``user_id`` when they have an account."""

    __tablename__ = "patient"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    record_number: Mapped[str] = mapped_column(String(20), unique=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"), unique=True)
    name: Mapped[str] = mapped_column(String(120), index=True)
    birth_date: Mapped[date]
    sex: Mapped[str] = mapped_column(String(10))
    phone: Mapped[str | None] = mapped_column(String(40))
    blood_group: Mapped[str | None] = mapped_column(String(4))
    allergies: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]


class PatientIdentifier(Base):
    """A number by which another system knows this patient (DICOM PatientID with its issuer)."""

    __tablename__ = "patient_identifier"
    __table_args__ = (UniqueConstraint("issuer", "value"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patient.id"), index=True)
    issuer: Mapped[str] = mapped_column(String(64))
    value: Mapped[str] = mapped_column(String(64))


class CareRelation(Base):
    """A doctor cares for a patient, from ``since`` on; what gives a doctor sight of a record."""

    __tablename__ = "care_relation"
    __table_args__ = (UniqueConstraint("patient_id", "doctor_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patient.id"), index=True)
    doctor_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"), index=True)
    since: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(String(40))


@dataclass(frozen=True, slots=True)
class StatedIdentity:
    """Who a file says it shows."""

    patient_id: str | None
    name: str | None
    birth_date: date | None


def confirm_registration(
    work: Work, *, token: str, password: str, passwords: Passwords, origin: Origin
) -> tuple[User, Patient]:
    """Open a registered patient's account together with their record."""
    user, stated = joining.confirm_registration(
        work, token=token, password=password, passwords=passwords, origin=origin
    )
    return user, add_record(work, name=user.name, birth_date=stated.birth_date, sex=stated.sex, user_id=user.id)


def register(work: Work, actor: Actor, *, name: str, birth_date: date, sex: str) -> Patient:
    """Register a patient who has no account, as a doctor does for a person at the desk; the doctor cares for them."""
    require(actor, Action.REGISTER_PATIENT)
    if not date(1900, 1, 1) <= birth_date <= work.clock.now().date():
        raise Unprocessable("The date of birth is not possible.", code="bad-birth-date")
    if sex not in joining.SEXES:
        raise Unprocessable(f"Sex is one of {', '.join(joining.SEXES)}.", code="bad-sex")
    patient = add_record(work, name=joining.clean_name(name), birth_date=birth_date, sex=sex, user_id=None)
    take_into_care(work, patient_id=patient.id, doctor_id=actor.user_id, reason="registered")
    audit.record(
        work,
        "patient.registered",
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="patient",
        object_id=patient.id,
    )
    return patient


def add_record(work: Work, *, name: str, birth_date: date, sex: str, user_id: UUID | None) -> Patient:
    """Open a record under a new number."""
    patient = Patient(
        id=new_id(),
        record_number=new_number("P"),
        user_id=user_id,
        name=name,
        birth_date=birth_date,
        sex=sex,
        created_at=work.clock.now(),
    )
    work.session.add(patient)
    work.session.flush()
    return patient


def take_into_care(work: Work, *, patient_id: UUID, doctor_id: UUID, reason: str) -> None:
    """Note that a doctor cares for a patient; does nothing when that is so already."""
    known = work.session.scalar(
        select(CareRelation).where(CareRelation.patient_id == patient_id, CareRelation.doctor_id == doctor_id)
    )
    if known is not None:
        known.ended_at = None
        return
    work.session.add(
        CareRelation(
            id=new_id(),
            patient_id=patient_id,
            doctor_id=doctor_id,
            since=work.clock.now(),
            ended_at=None,
            reason=reason,
        )
    )


def of_user(work: Work, user_id: UUID) -> Patient | None:
    """Return the record of a person with an account, if they are a patient."""
    return work.session.scalar(select(Patient).where(Patient.user_id == user_id))


def cares_for(work: Work, *, doctor_id: UUID, patient_id: UUID) -> bool:
    """Tell whether a doctor has this patient in care now."""
    return bool(
        work.session.scalar(
            select(func.count())
            .select_from(CareRelation)
            .where(
                CareRelation.patient_id == patient_id,
                CareRelation.doctor_id == doctor_id,
                CareRelation.ended_at.is_(None),
            )
        )
    )


def in_care(work: Work, actor: Actor, *, search: str = "", limit: int = 50) -> list[Patient]:
    """Return a doctor's patients whose name or record number holds ``search``, by name; the look is audited."""
    require(actor, Action.VIEW_PATIENTS)
    query = (
        select(Patient)
        .join(CareRelation, CareRelation.patient_id == Patient.id)
        .where(CareRelation.doctor_id == actor.user_id, CareRelation.ended_at.is_(None))
        .order_by(Patient.name, Patient.id)
        .limit(limit)
    )
    if search.strip():
        words = search.strip().lower()
        query = query.where(
            func.lower(Patient.name).contains(words, autoescape=True)
            | func.lower(Patient.record_number).contains(words, autoescape=True)
        )
    found = list(work.session.scalars(query))
    audit.record(work, "patients.listed", actor_id=actor.user_id, actor_role=actor.role, detail={"count": len(found)})
    return found


def doctors(work: Work) -> list[User]:
    """Return the doctors whom a patient may choose, by name."""
    return list(
        work.session.scalars(
            select(User).where(User.role == Role.DOCTOR, User.disabled_at.is_(None)).order_by(User.name, User.id)
        )
    )


def doctor_for(work: Work, patient: Patient, *, wanted: UUID | None) -> User | None:
    """Return who reads for this patient: the wanted doctor, else one who cares for them, else the least busy one.

    The patient's own account is never chosen (nobody reads their own scan). None when the site has no doctor.
    """
    able = {doctor.id: doctor for doctor in doctors(work) if doctor.id != patient.user_id}
    if wanted is not None:
        return able.get(wanted)
    load = dict(
        work.session.execute(
            select(CareRelation.doctor_id, func.count())
            .where(CareRelation.ended_at.is_(None))
            .group_by(CareRelation.doctor_id)
        ).all()
    )
    caring = work.session.scalars(
        select(CareRelation.doctor_id)
        .where(CareRelation.patient_id == patient.id, CareRelation.ended_at.is_(None))
        .order_by(CareRelation.since)
    )
    for doctor_id in caring:
        if doctor_id in able:
            return able[doctor_id]
    return min(able.values(), key=lambda doctor: (load.get(doctor.id, 0), doctor.name, doctor.id), default=None)


def identity_mismatch(work: Work, patient: Patient, stated: StatedIdentity) -> str | None:
    """Compare who a file says it shows with the record; returns what does not fit, or None.

    The PatientID must be one by which we know this patient; a name or a date of birth, where the file has one,
    must fit too. A file without a PatientID does not say whose it is, and that does not fit either.
    """
    if not stated.patient_id or not stated.patient_id.strip():
        return "it does not say whose it is (no patient number)"
    known = set(
        work.session.scalars(select(PatientIdentifier.value).where(PatientIdentifier.patient_id == patient.id))
    ) | {patient.record_number}
    if stated.patient_id.strip() not in known:
        return "it carries another patient number than those on record"
    if stated.name and stated.name.strip(" ^=") and not _same_person(stated.name, patient.name):
        return "it carries another name"
    if stated.birth_date is not None and stated.birth_date != patient.birth_date:
        return "it carries another date of birth"
    return None


def amend(
    work: Work, actor: Actor, *, patient_id: UUID, allergies: str = "", number: str = "", issuer: str = ""
) -> Patient:
    """Write down what a doctor learned: allergies (or that none are known), or a number in another system.

    What is left empty stays as it is. Raises `NotFound` for a patient who is not in care, `Conflict` for a number
    by which another patient is known.
    """
    require(actor, Action.AMEND_RECORD)
    patient = work.session.get(Patient, patient_id)
    if (
        patient is None
        or patient.user_id == actor.user_id
        or not cares_for(work, doctor_id=actor.user_id, patient_id=patient_id)
    ):
        raise NotFound("There is no such patient.")
    words, value, source = (" ".join(text.replace("\x00", "").split()) for text in (allergies, number, issuer))
    if not words and not value:
        raise Unprocessable("Enter allergies, or a number.", code="nothing-entered")
    if words:
        if len(words) > 500:
            raise Unprocessable("Allergies may have at most 500 characters.", code="text-too-long")
        patient.allergies = words
        _note(work, actor, patient, "patient.allergies_recorded")
    if value:
        _link_number(work, patient, value, source)
        _note(work, actor, patient, "patient.number_linked")
    return patient


def _link_number(work: Work, patient: Patient, value: str, issuer: str) -> None:
    if len(value) > 64 or len(issuer) > 64:
        raise Unprocessable("A number and its issuer may have at most 64 characters each.", code="text-too-long")
    holder = work.session.scalar(select(PatientIdentifier.patient_id).where(PatientIdentifier.value == value).limit(1))
    holder = holder or work.session.scalar(select(Patient.id).where(Patient.record_number == value))
    if holder is not None and holder != patient.id:
        raise Conflict("Another patient is known by this number. Nothing was changed.", code="number-taken")
    if holder is None:
        add_identifier(work, patient_id=patient.id, issuer=issuer or "unstated", value=value)


def _note(work: Work, actor: Actor, patient: Patient, action: str) -> None:
    audit.record(
        work, action, actor_id=actor.user_id, actor_role=actor.role, object_type="patient", object_id=patient.id
    )


def numbers_of(work: Work, people: Iterable[Patient]) -> dict[UUID, list[str]]:
    """Return the numbers by which other systems know these patients."""
    found: dict[UUID, list[str]] = {patient.id: [] for patient in people}
    rows = work.session.scalars(
        select(PatientIdentifier).where(PatientIdentifier.patient_id.in_(found)).order_by(PatientIdentifier.value)
    )
    for row in rows:
        found[row.patient_id].append(row.value)
    return found


def add_identifier(work: Work, *, patient_id: UUID, issuer: str, value: str) -> None:
    """Note a number by which another system knows a patient."""
    work.session.add(PatientIdentifier(id=new_id(), patient_id=patient_id, issuer=issuer, value=value))


def _same_person(one: str, other: str) -> bool:
    left, right = _name_parts(one), _name_parts(other)
    if not left or not right:
        return False
    # Middle names and titles come and go between systems; family and given name have to be in both.
    return len(left & right) >= min(2, len(left), len(right))


def _name_parts(name: str) -> set[str]:
    """Return the words of a name without accents, in any script; a single Latin letter is an initial and no part."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    return {word for word in words if len(word) > 1 or not word.isascii()}
