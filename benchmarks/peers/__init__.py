"""Networks to compare with, each as its own tool makes and runs it."""
