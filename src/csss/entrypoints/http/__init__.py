"""What every HTTP door shares: parts, work, actor, guards, errors."""
