"""The states of a message, their order, which of them are final, and their names in every dialect.

A message passes ``accepted → routed → dispatched → delivered → seen``, or ends in ``failed`` or ``expired``, possibly
after ``channel_failed``. A state that is in no dialect remains as it is: it is data, not an error.
"""

from __future__ import annotations

from types import MappingProxyType

#: The life cycle; events of the same instant are sorted in this order.
ORDER = tuple("accepted routed dispatched channel_failed delivered seen failed expired deleted unknown".split())

#: States that decide the outcome; ``seen`` may still follow ``delivered``.
FINAL = frozenset({"delivered", "seen", "failed", "expired"})

_WORDS = [name for name in ORDER if "_" not in name]
#: The names of the states in the guide (``message-…``), in v2, and in v3 and its callbacks (``MessageStatus::…``).
NAMES = MappingProxyType(
    {name: name for name in ORDER}
    | {f"MessageStatus::{name}": name for name in _WORDS}
    | {f"message-{name}": name for name in _WORDS}
    | {
        "message-routing-success": "routed",
        "message-dispatching-success": "dispatched",
        "dispatching_failed": "channel_failed",
        "success": "delivered",
        "channelFailed": "channel_failed",
        "MessageStatus::channelFailed": "channel_failed",
    }
)

_RANK = {name: index for index, name in enumerate(ORDER)}


def parse_state(text: str) -> str:
    """The state that a name means in any dialect; an unrecognised name is returned unchanged.

    >>> parse_state("message-dispatching-success"), parse_state("success"), parse_state("MessageStatus::channelFailed")
    ('dispatched', 'delivered', 'channel_failed')
    >>> parse_state("message-dispatching-failed"), parse_state("message-failed"), parse_state("message-teleported")
    ('channel_failed', 'failed', 'message-teleported')
    """
    if text not in NAMES and text.startswith("message-") and text.endswith("-failed"):
        return "channel_failed"
    return NAMES.get(text, text)


def rank(state: str) -> int:
    """The position of a state in the life cycle; unrecognised states come last.

    >>> rank("accepted") < rank("delivered") < rank("message-teleported")
    True
    """
    return _RANK.get(state, len(ORDER))
