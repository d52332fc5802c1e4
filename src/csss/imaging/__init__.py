"""Bytes to pixels and back; no database, no web."""
