"""Transitions, journeys, latency and delivery estimates, computed on plain frames.

Every estimate follows the same conventions:

- Messages that had no final outcome when last observed are *open*: they are right-censored at ``observed_until``, and
  never count as undelivered. ``n_open`` is their number.
- A time that is **infinite** is *not reached*: too many messages failed for the share to be reached. A
  time or share that is **NaN** *cannot be known* (yet): the messages still open could reach it, or no message was
  observed for so long. The interval of an estimate that cannot be known is NaN, too.
- A lower limit of zero or an upper limit that is infinite means that there are too few messages for a limit.
- Messages depend on one another: an outage delays many at once, and a campaign has a speed of its own. Intervals and
  p-values take this into account by a *design effect* (``design_effect``): how many times as large the variance is as
  if messages were independent, by campaign and by stretches of time of several lengths, the largest of which counts.
  ``attrs["dependence_note"]`` says in a sentence how many independent messages would tell as much.
  ``cluster="recipient"`` takes the values of a column instead, and ``cluster=None`` takes messages as independent. The
  method is in :mod:`viberkit.analysis.clusters`.
- ``by``, ``start``, ``end``, ``confidence``, ``cluster`` and ``tz`` of a result are in its ``attrs``.
"""
