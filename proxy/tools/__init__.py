"""Commands around the server: none of them is imported by what serves, and each only when it is asked for."""
