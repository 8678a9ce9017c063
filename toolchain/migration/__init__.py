"""Moving a gallery that was enrolled with one model to another one."""
