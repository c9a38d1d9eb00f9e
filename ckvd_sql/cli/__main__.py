"""`python -m ckvd_sql.cli`: the command `ckvd`."""

from ckvd_sql.cli.main import main

main(prog_name="ckvd")
