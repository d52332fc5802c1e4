"""Runs job requests durably: each has its effect once, whatever dies in between."""

from csss.worker.loop import Worker, WorkerAlreadyRunning
from csss.worker.perform import Handler, run_due

__all__ = ["Handler", "Worker", "WorkerAlreadyRunning", "run_due"]
