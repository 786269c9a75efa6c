//! Training: losses, trainer, samplers, optimisers, schedules and checkpoints.
