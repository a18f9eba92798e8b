"""What images show, read by networks and rules: age, classes, features, utility."""
