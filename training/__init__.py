"""Train, measure and export the models of the shelf; torch lives here only."""
