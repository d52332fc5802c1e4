"""What was received: study, series and instance, and the files that were held back."""
