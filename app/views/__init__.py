"""Parts of pages: what is asked of the store, and the charts and widgets that show it."""
