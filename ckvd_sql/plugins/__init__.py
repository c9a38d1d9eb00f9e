"""Integrations with other libraries, one module each; only that module imports the other library."""
