"""Long texts: read, cut into pieces, spoken as a job that survives a crash, and put together."""
