"""The report: run folders in; a table, a plot and a self-contained page out."""
