"""viberkit: send Viber Business messages, keep their trail, and see where the time went."""
