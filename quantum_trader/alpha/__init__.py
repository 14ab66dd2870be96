"""Alpha: strategies and models that propose."""
