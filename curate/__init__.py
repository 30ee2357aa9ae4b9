"""Selection masks on disk: proposed, propagated, judged, reviewed."""
