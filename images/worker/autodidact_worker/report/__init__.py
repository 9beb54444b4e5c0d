"""The page at the end of a run: figures from artifacts, plots, and one offline HTML file."""
