"""The comparison with other libraries: `python -m benches.compare`."""
