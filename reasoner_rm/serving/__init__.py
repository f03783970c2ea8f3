"""What serves a model to many callers: a shared engine, a process of its own for the model, a cache."""
