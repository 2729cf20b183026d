"""What a new version must show before it may be promoted."""
