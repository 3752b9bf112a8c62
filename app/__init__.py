"""The HTTP service: accepts work once, hands it to the engine, and tells the truth about it."""
