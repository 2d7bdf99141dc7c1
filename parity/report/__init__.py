"""Reports of a comparison: tables, a page with pictures, JSON, JUnit, the baseline."""
