"""Listeners: frozen models that read a reasoning and give a probability to each option."""

from reasoner_rm.listener.listener import Listener, frozen_listener

__all__ = ["Listener", "frozen_listener"]
