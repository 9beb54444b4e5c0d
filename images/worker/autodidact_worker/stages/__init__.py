"""One module a stage kind, each with ``run(context) -> Output``; imported by the frame."""
