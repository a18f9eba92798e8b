"""Arrays in, numbers out; then a report."""
