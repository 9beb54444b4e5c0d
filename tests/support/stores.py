"""A server and keys that no store has."""

SERVER = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""sha256 of b"abc", from FIPS 180-2."""
