"""Files: records as JSON lines, appended and scanned."""
