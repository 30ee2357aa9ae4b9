"""The parts of `refstar masks build` that need networks."""
