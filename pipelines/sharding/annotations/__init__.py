"""Annotation files and tables larger than memory, as a store from which the record of each file is looked up."""
