"""What two processes must agree on: the API, the stages, the rows and the artifacts.

pydantic and the standard library only; the operator, the workers and the command line import it.
"""
