"""Speech of any length: texts cut into pieces, documents read, pieces fitted and levelled."""
