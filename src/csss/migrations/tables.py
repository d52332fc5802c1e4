"""Every table of the product, gathered for the migrations and their test."""

from csss.accounts import tables as accounts
from csss.audit import AuditEvent
from csss.delivery import tables as delivery
from csss.findings import tables as findings
from csss.findings.choices import ModelChoice
from csss.findings.shadowed import ShadowAnalysis
from csss.foundation.database import Base
from csss.foundation.jobs import JobRequest
from csss.pathway import tables as pathway
from csss.patients import Patient
from csss.reports import tables as reports
from csss.studies import tables as studies

__all__ = [
    "AuditEvent",
    "Base",
    "JobRequest",
    "ModelChoice",
    "Patient",
    "ShadowAnalysis",
    "accounts",
    "delivery",
    "findings",
    "pathway",
    "reports",
    "studies",
]
