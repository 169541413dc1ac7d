"""The parts of the simulated programme: assortment, people, seasons, habits, baskets, points, offers."""
