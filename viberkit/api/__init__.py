"""The HTTP client of the Conversations API: transport, sends, queries, account calls and settings."""
