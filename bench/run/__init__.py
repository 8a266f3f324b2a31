"""The verbs that need torch: load plug-ins, build steps, time them, count what is exact."""
