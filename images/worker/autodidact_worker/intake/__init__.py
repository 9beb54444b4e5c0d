"""Foreign bytes before anything opens them: sources, model files, chat templates."""
