"""Listeners: frozen models that read a reasoning and say what they believe."""

from reasoner_rm.listener.listener import Listener, frozen_listener

__all__ = ["Listener", "frozen_listener"]
