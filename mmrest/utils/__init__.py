"""Parts that know nothing of models and that every other part may use."""
