"""The web door: server-rendered pages for people."""
