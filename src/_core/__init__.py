"""The compiled core. `pyengine` is its only door; import from there."""
