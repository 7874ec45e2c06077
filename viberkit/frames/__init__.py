"""Column schemas of the frames, and readers of event files."""
