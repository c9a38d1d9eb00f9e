"""The command `ckvd`."""
