"""The ledger of points: which rules issue lots, what becomes of them, what they will cost."""
