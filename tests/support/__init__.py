"""What two test files share: builders, stores, servers, models, corpora."""
