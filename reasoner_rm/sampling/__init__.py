"""Completions sampled for a purpose: votes and their tally, rejection sampling, a teacher's cold-start data."""
