"""Who does it: processes that lease jobs in batches, carry them out, and settle their outcomes."""
