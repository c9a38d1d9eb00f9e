"""The SQL interface: the names `ckvd_klines` and its like on a DuckDB connection."""

from ckvd_sql.sql.connections import connect, register

__all__ = ["connect", "register"]
