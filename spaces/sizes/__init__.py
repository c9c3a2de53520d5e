"""How large a space is: by looking at every point or by its structure; exact or within bounds."""
