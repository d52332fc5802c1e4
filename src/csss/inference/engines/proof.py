"""Proof: when a network on another machine last gave its golden result here, and whether it is to give it again."""

from time import monotonic

from csss.foundation.errors import CsssError

PROOF_SECONDS = 600.0
"""So long an answer of another machine is believed on the strength of one golden case."""
RETRY_SECONDS = 5.0
"""So long a failed proof is not tried again: callers that wait are told at once what the first was told."""


class Proof:
    """Held under the lock of its model while it is given; may be looked at and lost from any thread."""

    def __init__(self) -> None:
        self._given_at: float | None = None
        self._refused: tuple[float, CsssError] | None = None
        self._losses = 0

    def is_due(self) -> bool:
        """Whether the golden case is to be replayed before the next answer is believed."""
        given_at = self._given_at
        return given_at is None or monotonic() - given_at > PROOF_SECONDS

    def begin(self) -> int:
        """What `give` is told in the end: how often the proof had been lost when the golden case was begun."""
        return self._losses

    def give(self, begun: int) -> None:
        """Note that the golden case was replayed and agreed; of no account when the server failed meanwhile."""
        if begun == self._losses:
            self._given_at, self._refused = monotonic(), None

    def lose(self) -> None:
        """Note that the server failed, or is not the one it was: what it says next is to be proved first."""
        self._losses += 1
        self._given_at = None

    def refuse(self, problem: CsssError) -> None:
        """Note that the proof was not given."""
        self._given_at, self._refused = None, (monotonic(), problem)

    def recent_refusal(self) -> CsssError | None:
        """Why the proof was not given a moment ago; None when it may be tried again."""
        if self._refused is None or monotonic() - self._refused[0] > RETRY_SECONDS:
            return None
        return self._refused[1]
