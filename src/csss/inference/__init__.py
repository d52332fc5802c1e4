"""A picture and a model card in, a prediction out: no database, no settings, no web."""
