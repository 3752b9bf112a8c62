"""From what was seen of an instance to a verdict; drives nothing and asks nothing."""
