"""vLLM in this process: the engine's start, what it is handed, and how its weights follow the policy's."""
