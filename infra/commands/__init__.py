"""One module per command. Each imports what it runs inside its function, since Feast, MLflow and
Evidently take seconds to import and `foresend --help` must not."""
