"""The log as Parquet files: their names, rows and location; the writer and the reader."""
