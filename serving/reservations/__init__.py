"""Reserved with the decision, committed at redemption, released at its end; on SQLite or on PostgreSQL."""
