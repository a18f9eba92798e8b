"""One folder for each kind of model: what it learns from, how it trains, what opens its runs, what it reports."""
