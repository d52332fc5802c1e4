"""CSSS, the Clinical Scan Support System: from an uploaded scan to a signed, delivered report."""

__version__ = "0.1.0"
