"""The judge over HTTP: a JSON API, OpenAI's chat completions, remote rewards of other trainers, a web page."""
