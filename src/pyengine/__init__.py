"""pyengine: a price-time priority matching engine for Python with a compiled core."""
