"""The local stack: Redis, MLflow and the API as one supervised group of processes."""
