"""A contest of ways to share budgets out among members, in simulated worlds whose true effects are known."""
