"""Search spaces of the literature, one file a paper, each with a study on the default backbone.

``docs/literature.md`` lists their sizes; ``python -m peftnas.studies.literature.table`` writes it.
"""
