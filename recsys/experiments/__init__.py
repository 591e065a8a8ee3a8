"""Experiments that can be believed: who is in them, what they measured, how sure that is. Arrays in, numbers out."""
