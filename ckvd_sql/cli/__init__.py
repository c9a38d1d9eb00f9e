"""The command line, `ckvd`. Nothing in the library imports it."""
