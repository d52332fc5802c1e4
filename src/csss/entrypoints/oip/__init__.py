"""Open Inference Protocol v2: programs ask the models of the shelf, and nothing is kept."""
