"""Shapes of accounts and patients."""

from datetime import date
from typing import Self
from uuid import UUID

from pydantic import Field

from csss.accounts.actor import Actor
from csss.accounts.tables import Role
from csss.entrypoints.api.shapes.base import Form, Shape
from csss.patients import Patient


class RegisterForm(Form):
    email: str = Field(max_length=254)
    name: str = Field(max_length=200)
    birth_date: date
    sex: str = Field(max_length=10, examples=["female"])
    password: str = Field(max_length=256, description="At least 15 characters; a few words are fine")


class ConfirmForm(Form):
    token: str = Field(max_length=100, description="From the link in the mail")
    password: str = Field(max_length=256)


class LoginForm(Form):
    email: str = Field(max_length=254)
    password: str = Field(max_length=256)
    code: str | None = Field(None, max_length=16, description="Authenticator code; needed by staff")


class Accepted(Shape):
    status: str


class Me(Shape):
    id: UUID
    email: str
    name: str
    role: Role
    patient_id: UUID | None

    @classmethod
    def of(cls, actor: Actor, patient: Patient | None) -> Self:
        return cls(
            id=actor.user_id,
            email=actor.email,
            name=actor.name,
            role=actor.role,
            patient_id=patient.id if patient else None,
        )


class Token(Shape):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6750's name, not a secret
    expires_in: int = Field(description="Seconds")
    user: Me


class PatientShape(Shape):
    id: UUID
    record_number: str
    name: str
    birth_date: date
    sex: str
    allergies: str | None = Field(description="null: nobody has asked yet")

    @classmethod
    def of(cls, patient: Patient) -> Self:
        return cls(
            id=patient.id,
            record_number=patient.record_number,
            name=patient.name,
            birth_date=patient.birth_date,
            sex=patient.sex,
            allergies=patient.allergies,
        )


class PatientForm(Form):
    name: str = Field(max_length=200)
    birth_date: date
    sex: str = Field(max_length=10)


class RecordForm(Form):
    """What a doctor learned; what is left empty stays as it is."""

    allergies: str = Field("", max_length=600, description='Such as "Penicillin", or "none known"')
    number: str = Field("", max_length=100, description="PatientID of another system, such as another hospital's")
    issuer: str = Field("", max_length=100, description="Whose number that is")


class Patients(Shape):
    items: list[PatientShape]
