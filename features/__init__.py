"""The words and the facts: entities, typed tables, sources, the catalogue, every member feature and the stores."""
