"""What people look at: tables, plots, RESULTS.md and the HTML page."""
