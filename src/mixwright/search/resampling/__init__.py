"""What resampling documents says: shrinkage, improvement out of fold, intervals."""
