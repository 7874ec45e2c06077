"""Event logs that outgrow one machine: Parquet written from an archive, counted by DuckDB, Spark or PostgreSQL."""
