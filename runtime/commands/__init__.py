"""What every command of EFQ starts with: signals and streams first, and the types of its options."""
