"""Tables, figures and the page that an evaluation becomes. This package alone draws."""
