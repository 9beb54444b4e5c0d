"""One module for each kind of stage, with ``run(context) -> Output``. The frame imports it."""
