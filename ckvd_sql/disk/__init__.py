"""Files, folders and locks as such. It knows no market and no cache, and not what a file holds."""
