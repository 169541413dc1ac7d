"""One decision: pure rules, money and probabilities inside; contract, journal and service around them."""
