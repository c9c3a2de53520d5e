"""Forms of examples: one file for each kind of question that a task may ask.

A form knows how examples become batches, what of the backbone answers them, the loss, and the
predictions that a task scores. A task names its form in its attribute ``form``; one without that
is a task on texts with a class or a number each.
"""

from peftnas.search.trial.forms.form import Form, Outcome, Reader, form_of, form_to_dict, made_form

__all__ = ["Form", "Outcome", "Reader", "form_of", "form_to_dict", "made_form"]
