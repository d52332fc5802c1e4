"""The life of a scan, in time order."""
