"""The lake: Parquet files of whole years or months beside the cache, in a folder or a bucket, for any engine."""
