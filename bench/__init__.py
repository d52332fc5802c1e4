"""Performance of CSSS beside the papers' pipeline; run by `make bench`, never timed inside tests."""
