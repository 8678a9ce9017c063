"""What stands before the routes: who may ask, how much at once, how large, how deep, how slow."""
