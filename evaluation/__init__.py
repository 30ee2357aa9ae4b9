"""The parts of `refstar evaluate`: test sets, scores, tables, the report."""
