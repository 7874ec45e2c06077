"""The states of a message, their order, which of them are final, and their names in every dialect.

A message passes ``accepted → routed → dispatched → delivered → seen``, or ends in ``failed`` or ``expired``, possibly
after ``channel_failed``. A state that is in no dialect remains as it is: it is data, not an error.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from viberkit.errors import fold_name

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
_FOLDED = {fold_name(name): state for name, state in NAMES.items()}
_OTHER_KIND = re.compile(r"(?!MessageStatus::)\w+::", re.IGNORECASE)


def parse_state(text: str, *, fold: bool = False) -> str:
    """The state that a name means in any dialect; an unrecognised name is returned unchanged.

    With ``fold``, letter case, spaces, hyphens and underscores do not count.

    >>> parse_state("message-dispatching-success"), parse_state("success"), parse_state("MessageStatus::channelFailed")
    ('dispatched', 'delivered', 'channel_failed')
    >>> parse_state("message-dispatching-failed"), parse_state("message-failed"), parse_state("message-teleported")
    ('channel_failed', 'failed', 'message-teleported')
    >>> parse_state("Channel Failed"), parse_state("Channel Failed", fold=True)
    ('Channel Failed', 'channel_failed')
    """
    state = NAMES.get(text) or (_FOLDED.get(fold_name(text)) if fold else None)
    return state or ("channel_failed" if text.startswith("message-") and text.endswith("-failed") else text)


def is_of_message(state: str) -> bool:
    """Whether an event with this state is about a sent message, and not about a call or an account.

    >>> is_of_message("MessageStatus::delivered"), is_of_message("CallStatus::ringing"), is_of_message("DELIVRD")
    (True, False, True)
    """
    return not _OTHER_KIND.match(state)


def rank(state: str) -> int:
    """The position of a state in the life cycle; unrecognised states come last.

    >>> rank("accepted") < rank("delivered") < rank("message-teleported")
    True
    """
    return _RANK.get(state, len(ORDER))
