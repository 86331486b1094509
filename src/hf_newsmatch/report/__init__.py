"""The report of a run: a folder that opens from disk, and its tables and figures for a paper."""
