"""The database that stores sent messages, answers and callbacks: engine, tables, outbox and queries."""
