"""What a channel is: it takes a message to an address, or says why not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from csss.foundation.errors import Unavailable


class DeliveryError(Unavailable):
    """The message did not go out. ``permanent``: trying again will not help.

    ``outcome_unknown``: the connection broke after the message was handed over and before the server's answer.
    """

    code = "delivery-failed"

    def __init__(self, message: str, *, permanent: bool, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.outcome_unknown = outcome_unknown


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one address; ``message_id`` stays the same in every attempt, so a receiver can tell repeats."""

    message_id: str
    to: str
    subject: str
    text: str
    attachments: tuple[Attachment, ...] = ()


class Channel(Protocol):
    """Takes messages."""

    def send(self, message: Message, *, handing_over: Callable[[], None]) -> str:
        """Send and return the receiving server's answer; raises `DeliveryError`.

        ``handing_over`` is called once, after the server agreed to take the message and before it gets it: from
        then on, until this returns, nobody can know whether it went out.
        """
        ...
