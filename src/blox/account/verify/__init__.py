"""Asking a real account what nobody has seen: one small experiment for each question."""
