"""What can be judged: what a target declares, its paths, their points, and scenarios."""
