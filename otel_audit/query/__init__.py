"""Reading a data folder with DuckDB: which files to open, in which order, and the rows they give.

The statements are the `.sql` files of the top-level `query/` folder; here is only what chooses and runs them.
"""
