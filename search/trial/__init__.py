"""The fine-tune trial: one architecture, trained and scored on a resident backbone."""
