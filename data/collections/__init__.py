"""Lists of photos and people: every form that data sets read, checked, split and packed."""
