"""Transitions, journeys, latency and delivery estimates, computed on plain frames.

Every estimate follows the same conventions:

- Messages that had no final outcome when last observed are *open*: they are right-censored at ``observed_until``, and
  never count as undelivered. ``n_open`` is their number.
- A time that is **infinite** is *not reached*: too many messages failed for the share to be reached. A
  time or share that is **NaN** *cannot be known* (yet): the messages still open could reach it, or no message was
  observed for so long. The interval of an estimate that cannot be known is NaN, too.
- A lower limit of zero or an upper limit that is infinite means that there are too few messages for a limit.
- ``by``, ``start``, ``end``, ``confidence`` and ``tz`` of a result are in its ``attrs``.
"""
