"""Measures Millrace against its bars and its peers, on servers of its own: `make bench`."""
