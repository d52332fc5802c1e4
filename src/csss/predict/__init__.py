"""``csss predict``: many files read by several processes, and measured when their labels are given."""
