"""The one client of OpenAI-compatible servers: replicas, retries, a budget, and messages with images."""
