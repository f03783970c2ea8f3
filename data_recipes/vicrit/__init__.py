"""The vicrit builder: true captions in, captions with one wrong phrase out.

What can be swapped for what stands in `words`, how a caption is changed by rule in `rules`, how a language model is
asked for a change and held to it in `model`, and what both must satisfy in `verify`.
"""
