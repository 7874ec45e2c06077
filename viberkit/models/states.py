"""The states of a message, their order, which of them are final, and every dialect's names for them.

A message's life runs ``accepted → routed → dispatched → delivered → seen``; it may end in ``failed`` or
``expired`` instead, after a ``channel_failed``. A state that no dialect knows keeps its own text: it is
data, not an error.
"""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["FINAL", "NAMES", "ORDER", "parse_state", "rank"]

#: The life cycle. Events of one instant are put in this order.
ORDER = (
    "accepted",
    "routed",
    "dispatched",
    "channel_failed",
    "delivered",
    "seen",
    "failed",
    "expired",
    "deleted",
    "unknown",
)

#: States after which nothing more decides the outcome (``seen`` may still follow ``delivered``).
FINAL = frozenset({"delivered", "seen", "failed", "expired"})

#: What each dialect calls a state: the guide (``message-…``), v2, v3 and its callbacks (``MessageStatus::…``).
NAMES = MappingProxyType(
    {name: name for name in ORDER}
    | {f"MessageStatus::{name}": name for name in ORDER if "_" not in name}
    | {f"message-{name}": name for name in ORDER if "_" not in name}
    | {
        "message-routing-success": "routed",
        "message-dispatching-success": "dispatched",
        "dispatching_failed": "channel_failed",
        "success": "delivered",
        "channelFailed": "channel_failed",
        "MessageStatus::channelFailed": "channel_failed",
    }
)

_RANK = MappingProxyType({name: place for place, name in enumerate(ORDER)})


def parse_state(text: str) -> str:
    """The state that a dialect's word means; a word never seen before stays as it is.

    >>> parse_state("message-dispatching-success"), parse_state("success"), parse_state("MessageStatus::channelFailed")
    ('dispatched', 'delivered', 'channel_failed')
    >>> parse_state("message-dispatching-failed"), parse_state("message-failed"), parse_state("message-teleported")
    ('channel_failed', 'failed', 'message-teleported')
    """
    if text not in NAMES and text.startswith("message-") and text.endswith("-failed"):
        return "channel_failed"
    return NAMES.get(text, text)


def rank(state: str) -> int:
    """A state's place in the life cycle; texts never seen before come last.

    >>> rank("accepted") < rank("delivered") < rank("message-teleported")
    True
    """
    return _RANK.get(state, len(ORDER))
