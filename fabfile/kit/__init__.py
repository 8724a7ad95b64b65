"""The engine: a task says what should be true, the engine finds out what is, shows the difference and mends only that.

It knows nothing of Jupyter.
"""
