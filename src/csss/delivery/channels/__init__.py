"""The ways a message can take: CHANNELS, name -> how to make the channel from its settings."""

from collections.abc import Callable

from csss.delivery.channels.base import Channel
from csss.delivery.channels.email import EmailChannel
from csss.foundation.settings import Settings

CHANNELS: dict[str, Callable[[Settings], Channel]] = {"email": lambda settings: EmailChannel(settings.smtp)}


def open_channels(settings: Settings) -> dict[str, Channel]:
    """Return every channel of this site, by name."""
    return {name: make(settings) for name, make in CHANNELS.items()}
