"""The judge over HTTP: plain JSON, OpenAI's chat completions, a page for people."""
