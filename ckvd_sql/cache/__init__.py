"""The cache on disk: day files and what is derived from them. It knows no network, and decides nothing on fetching."""
