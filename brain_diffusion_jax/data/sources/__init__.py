"""What there is: cohort tables, the files of scans, folders of pictures, near duplicates among them."""
