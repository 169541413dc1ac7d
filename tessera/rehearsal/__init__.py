"""A month rehearsed through the live API: how policies would have done with the same members, budgets and days."""
