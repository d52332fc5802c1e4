"""Read what our letters say: links, codes and minutes."""

import re

from mailbox_server import Mailbox


def text_of(mailbox: Mailbox, index: int = -1) -> str:
    """The plain text of a message that the mail server took."""
    body = mailbox.messages[index].get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_token(mailbox: Mailbox, index: int = -1) -> str:
    """The secret in the link of a registration letter."""
    found = re.search(r"http://127\.0\.0\.1:8000/register/confirm/(\S+)", text_of(mailbox, index))
    assert found, text_of(mailbox, index)
    return found[1]


def mailed_code(mailbox: Mailbox, index: int = -1) -> str:
    """The approval code: eight digits on a line of their own."""
    found = re.search(r"^\s+(\d{8})\s*$", text_of(mailbox, index), re.MULTILINE)
    assert found, text_of(mailbox, index)
    return found[1]
