"""What the AI said about a study, kept as it was said."""
