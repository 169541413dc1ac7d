"""Was it better? Simulation, the promotion gate, replay."""
