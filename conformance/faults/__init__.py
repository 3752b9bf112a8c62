"""What happens to a victim, and the proof that it did."""
