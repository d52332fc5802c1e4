"""Shapes of the steps that people take."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from csss.accounts.tables import StepUpMethod
from csss.entrypoints.api.shapes.base import Form, Shape

LongText = Annotated[str, Field(max_length=20_000)]


class VerifyForm(Form):
    conclusion: LongText
    notes: LongText
    agrees_with_ai: bool | None = Field(None, description="Needed when there is an AI result, null when there is none")
    recommendations: LongText | None = None
    acknowledgement: LongText | None = Field(
        None, description="At least 20 characters when the AI was uncertain or absent"
    )


class Item(Form):
    medicine: str = Field(max_length=200)
    dose: str = Field(max_length=200)
    route: str = Field("", max_length=200)
    frequency: str = Field(max_length=200)
    duration: str = Field("", max_length=200)
    remarks: str = Field("", max_length=1000)


class CompleteForm(Form):
    items: list[Item] = Field(default_factory=list, max_length=50)
    none_statement: LongText | None = Field(None, description="The word that nothing is needed, when items is empty")
    allergy_check: LongText


class StepUpForm(Form):
    method: StepUpMethod = StepUpMethod.TOTP


class ChallengeShape(Shape):
    id: UUID
    method: StepUpMethod
    expires_at: datetime
    resend_at: datetime
    content_sha256: str = Field(description="What the code will be bound to")


class ApproveForm(Form):
    code: str = Field(max_length=32)


class ReasonForm(Form):
    reason: str = Field(max_length=500)


class RejectForm(Form):
    reason_code: str = Field(max_length=40)
