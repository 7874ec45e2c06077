"""A seeded simulation of the API over HTTP on loopback."""
