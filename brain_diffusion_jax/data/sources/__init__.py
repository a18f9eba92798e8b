"""What there is: cohort tables, the files of scans, folders of images, near duplicates among them."""
