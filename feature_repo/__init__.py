"""Events, features, targets and the Feast objects; knows no model and no HTTP client of ours."""
