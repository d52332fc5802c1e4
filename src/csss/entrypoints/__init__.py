"""The doors: protocols in, verbs out; no decision is taken here."""
