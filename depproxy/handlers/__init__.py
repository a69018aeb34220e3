"""HTTP: requests become typed values, results and errors become answers. No other room knows it."""
