"""PReLU becomes what integer kernels compute."""
