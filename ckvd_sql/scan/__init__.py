"""One query: which source each UTC day comes from, what a filter rules out, and the bars in order."""
