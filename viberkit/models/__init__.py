"""Contents, states, records, phone numbers and the parsing of wire formats; no I/O."""
