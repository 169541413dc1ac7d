"""From history to learned arrays: interactions, recipes, churn, response, metrics and the registry."""
