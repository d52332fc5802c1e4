"""Demo people of each role, their records, and phantom scans on their way."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydicom.data import get_testdata_file
from sqlalchemy import select

from csss import patients
from csss.accounts.actor import Actor
from csss.accounts.joining import demo_link
from csss.accounts.tables import Role, SessionKind, User
from csss.entrypoints.http.parts import Parts
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.imaging.phantom import Finding, phantom_dicom, phantom_png
from csss.pathway.submit import submit
from csss.patients import Patient
from csss.studies.receive import Upload


@dataclass(frozen=True, slots=True)
class Person:
    """A demo person; the patient's part is empty for staff."""

    email: str
    name: str
    role: Role
    speciality: str | None = None
    born: date | None = None
    sex: str = "unknown"
    allergies: str | None = None
    identifier: str | None = None


PEOPLE = (
    Person("ana.phantom@demo.invalid", "Ana Phantom", Role.PATIENT, None, date(1984, 3, 9), "female", "Penicillin"),
    Person("ben.phantom@demo.invalid", "Ben Phantom", Role.PATIENT, None, date(1957, 11, 2), "male"),
    Person(
        "ct1@demo.invalid", "CT1 CompressedSamples", Role.PATIENT, None, date(1970, 1, 1), "other", identifier="1CT1"
    ),
    Person(
        "mr1@demo.invalid", "MR1 CompressedSamples", Role.PATIENT, None, date(1970, 1, 1), "female", identifier="4MR1"
    ),
    Person("rita.reader@demo.invalid", "Dr. Rita Reader", Role.DOCTOR, "Radiology"),
    Person("paul.pulmo@demo.invalid", "Dr. Paul Pulmo", Role.DOCTOR, "Pulmonology"),
    Person("phil.pharma@demo.invalid", "Phil Pharma", Role.PHARMACIST),
    Person("ada.admin@demo.invalid", "Ada Admin", Role.ADMIN),
    # What reaches patients from a model takes two.
    Person("abe.admin@demo.invalid", "Abe Admin", Role.ADMIN),
)


def seed(parts: Parts) -> bool:
    """Make the demo people and their scans; returns False when they are there already."""
    with parts.shop.work() as work:
        if work.session.scalar(select(User.id).limit(1)) is not None:
            return False
        users = {person.email: _add(work, person) for person in PEOPLE}
    reader = users["rita.reader@demo.invalid"]
    with parts.shop.work() as work:
        for person in PEOPLE:
            if person.role is Role.PATIENT:
                patient = _record(work, users[person.email])
                patients.take_into_care(work, patient_id=patient.id, doctor_id=reader.id, reason="demo")
    _send_scans(parts, users)
    return True


def _add(work: Work, person: Person) -> User:
    user = User(
        id=new_id(),
        email=person.email,
        name=person.name,
        role=person.role,
        speciality=person.speciality,
        created_at=work.clock.now(),
    )
    work.session.add(user)
    work.session.flush()
    if person.born is not None:
        patient = patients.add_record(work, name=person.name, birth_date=person.born, sex=person.sex, user_id=user.id)
        patient.allergies = person.allergies
        if person.identifier:
            patients.add_identifier(work, patient_id=patient.id, issuer="pydicom test files", value=person.identifier)
    return user


def _send_scans(parts: Parts, users: dict[str, User]) -> None:
    ana, ben = users["ana.phantom@demo.invalid"], users["ben.phantom@demo.invalid"]
    reader = users["rita.reader@demo.invalid"]
    _send(parts, ana, ana, "phantom-chest.png", phantom_png(1, finding=Finding.NONE), phantom=True)
    _send(parts, ben, ben, "phantom-chest.png", phantom_png(2, finding=Finding.OPACITY), phantom=True)
    with parts.shop.work() as work:
        record = _record(work, ben)
        number, born = record.record_number, record.birth_date.isoformat()
    dicom = phantom_dicom(3, patient_id=number, patient_name="Phantom^Ben", birth_date=born, finding=Finding.DIFFUSE)
    _send(parts, reader, ben, "phantom-chest.dcm", dicom, phantom=True)
    for address, name in (("ct1@demo.invalid", "CT_small.dcm"), ("mr1@demo.invalid", "MR_small.dcm")):
        # The demo never downloads: a file that this pydicom does not carry is left out.
        path = get_testdata_file(name, download=False)
        if path:
            _send(parts, reader, users[address], name, Path(str(path)).read_bytes(), phantom=False, body_part="OTHER")


def _send(
    parts: Parts,
    sender: User,
    subject: User,
    filename: str,
    data: bytes,
    *,
    phantom: bool,
    body_part: str = "CHEST",
) -> None:
    actor = Actor(sender.id, sender.role, sender.name, sender.email, sender.id, SessionKind.BROWSER)
    with parts.shop.work() as work:
        submit(
            work,
            actor,
            patient_id=_record(work, subject).id,
            upload=Upload(filename=filename, data=data, body_part=body_part),
            doctor_id=None,
            decode=parts.decode,
            limits=parts.limits,
            phantom=phantom,
        )


def _record(work: Work, user: User) -> Patient:
    record = patients.of_user(work, user.id)
    assert record is not None  # noqa: S101 - made with the user, above
    return record


def sign_in_links(parts: Parts) -> list[tuple[User, str]]:
    """Return a fresh one-time link for each demo person who can sign in without a password."""
    with parts.shop.work() as work:
        users = work.session.scalars(
            select(User).where(User.email.like("%@demo.invalid"), User.disabled_at.is_(None)).order_by(User.created_at)
        )
        return [(user, f"{parts.settings.base_url}/link/{demo_link(work, user)}") for user in users]
