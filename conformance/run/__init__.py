"""What drives a run: dry runs, trials, batches, and the order in which everything is judged."""
