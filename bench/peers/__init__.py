"""The same order flow through pyengine and through other engines from PyPI, checked equal and timed in one run."""
