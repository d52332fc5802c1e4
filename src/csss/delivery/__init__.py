"""Messages and reports to people, with receipts."""
