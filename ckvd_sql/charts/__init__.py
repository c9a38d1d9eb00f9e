"""Pictures of bars: in a browser, in a notebook and in a terminal."""

from ckvd_sql.charts.notebook import Chart, chart

__all__ = ["Chart", "chart"]
