"""Transitions, journeys, latency and delivery estimates, computed on plain frames."""
