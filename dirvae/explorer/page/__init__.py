"""The files of the page: plain HTML, CSS and JavaScript modules."""
