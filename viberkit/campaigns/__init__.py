"""One content to many recipients (plan, confirm, run), and the collection of open messages."""
