"""The vicrit builder: from true captions to captions with one wrong phrase.

Exchangeable words are in `word_groups`, changes by rule in `rules`, changes by a language model in `model`, and the
checks of both in `verify`.
"""
