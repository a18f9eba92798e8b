"""How a step is spread over devices and processes, and what it costs."""
