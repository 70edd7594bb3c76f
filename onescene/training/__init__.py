"""Training loops as generators: losses, augmentation, schedules; files and logs are the caller's."""
