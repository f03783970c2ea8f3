"""Releasing a run's judge: a folder with weights and model card, its verification, and the upload to the hub."""
