"""The report of a log as one HTML page, and its digest in five lines."""
