"""What each check of a log says: what the fault does to the results, and what helps."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["ABOUT", "CALLBACKS_ABSENT", "CALLBACKS_MERGED", "UNWATCHED"]

#: By the name of the check: the effect and the remedy.
ABOUT = MappingProxyType(
    {
        "duplicates": (
            "None on times: an event that is told again counts once; only counts of rows are too high.",
            "Nothing is needed; drop_duplicates() makes the file smaller.",
        ),
        "two_instants": (
            "Journeys take the first instant, and transitions have a hop from the state to itself.",
            "Use archive.events(), which believes the best source, or keep the source that you trust most.",
        ),
        "disorder": (
            "The hop has a time between states in the wrong order; transitions mark it as disordered.",
            "Leave out hops where disordered is true, and find out whose clock is off (see clock_skew).",
        ),
        "row_order": (
            "None: every analysis puts a message's events in order of time first.",
            "Nothing is needed; sort by message_id and happened_at where other tools read the log.",
        ),
        "negative_latency": (
            "Durations below zero count as zero, so times come out too short.",
            "Compare the sources' clocks (see clock_skew); leave these messages out where times must be exact.",
        ),
        "zero_latency": (
            "The hop took less than the clock shows, or two states were stamped together: low quantiles are too low.",
            "Look at the sum of neighbouring hops (accepted to delivered) rather than at the hop alone.",
        ),
        "naive": (
            "The instants were taken as UTC; if they are local, every time against another source is off by hours.",
            "Ask whoever wrote the log for its zone, and localise happened_at before reading it.",
        ),
        "delivered_after_failed": (
            "They count as delivered, so an estimate of failures leaves them out although they had failed before.",
            "Read the codes of these failures: an expiry or another channel may come before the delivery.",
        ),
        "seen_without_delivered": (
            "They count as delivered, but when is known only between the event before and the time they were seen.",
            "Fetch the histories: vk.collect(client, archive, include_final=True).",
        ),
        "unknown_state": (
            "Such events are hops of their own, and decide no outcome.",
            "Name the word in states.NAMES if you know what it means, or leave these events out.",
        ),
        "no_dispatched": (
            "The hop from accepted to delivered holds the time of two, and time from dispatched leaves them out.",
            "Fetch the histories, or opt in to MessageStatus::dispatched when callbacks are configured.",
        ),
        "no_routed": (
            "The hop from accepted to dispatched holds the time of both; callbacks and v2 or v3 histories have no word "
            "for routed.",
            "Nothing helps where the dialect has no such word; do not mix hops of logs with and without it.",
        ),
        "no_accepted": (
            "They are left out of every time that starts with accepted.",
            "Send through an archive, fetch the histories, or pass start='dispatched'.",
        ),
        "not_looked_again": (
            "Nothing is known of them after their last event, so they add nothing to a curve of delivery.",
            "Run vk.collect(client, archive), or pass observed_until where you know until when you looked.",
        ),
        "callbacks_missed": (
            "With callbacks alone these messages would seem to be still on the way.",
            "See archive.gaps(); keep the listener running, and run vk.collect(client, archive) now and then.",
        ),
        "clock_skew": (
            "What is received a second or more before it happened shows that a clock is off: times between this source "
            "and another are wrong by as much; of history and status the median is mostly how long nobody asked.",
            "Synchronise the clock of the machine that receives, and take both ends of a time from one source.",
        ),
        "polled": (
            "When it happened is known only to lie between not_before and happened_at.",
            "Fetch the histories, which tell exactly, or poll more often; time_to and delivery_curve know the bounds.",
        ),
    }
)

#: Instead of the effect, where sources are joined already.
CALLBACKS_MERGED = (
    "Not checked: the sources are joined in one row; pass archive.events(all_sources=True) to have them apart."
)
#: Instead of the effect, where no callback told of anything.
CALLBACKS_ABSENT = (
    "Not checked: no callback told of anything here; pass archive.events(all_sources=True) of an archive that has a "
    "listener."
)
#: Instead of the effect, where nothing says until when messages were watched.
UNWATCHED = (
    "Not checked: the log does not say until when messages were watched; pass journeys made with observed_until."
)
