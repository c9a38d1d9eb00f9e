"""Arrow datasets behind the SQL names. They know no SQL."""
