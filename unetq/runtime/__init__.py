"""Running a model file: native runtime, numpy reference, prediction, timing. Never reaches torch."""
