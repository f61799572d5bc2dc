"""What the process runs on, and what it is told."""
