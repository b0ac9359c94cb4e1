"""What a person looks at: flow and pairs of images as pictures, and the HTML report."""
