"""Events in the forms in which sending services report them."""
