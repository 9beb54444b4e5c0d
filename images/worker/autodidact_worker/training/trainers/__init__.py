"""Trainings by TRL's and transformers' trainers, adapted to what the worker needs.

- **Learning rate**: down to a final value that is not zero, as the papers have it.
- **Checkpoints**: of our own format, uploaded, with nothing pickled (see ``training.state``). Under
  DeepSpeed its engine writes them, which does pickle; they are read back from our prefix only,
  after their digests were checked.
- **Measurements** on the way, by ``accuracy`` or by ``battles``, and the best model as the result
  (see ``measuring``).
- **Dropout**: TRL switches it off for DPO and GRPO; here it stays as ``training.start`` set it.
- **Figures**: of every step, so that a resumed training has the same curve.

``adapter`` is what the trainers share, ``run`` runs one of them from a checkpoint to its output,
and each of the other modules is one kind of training.
"""
