"""Other tools' result files, read into records: one module a tool."""
