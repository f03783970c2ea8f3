"""Listeners behind one protocol: frozen models that read a reasoning and say what they believe."""

from reasoner_rm.listener.protocol import Listener

__all__ = ["Listener"]
