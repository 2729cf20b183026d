"""Who is let in and how much at once: the gate, rate limits, worker processes."""
