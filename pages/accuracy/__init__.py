"""The page Accuracy: what a network predicts of the test images, counted in many ways."""
