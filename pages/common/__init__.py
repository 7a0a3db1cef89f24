"""What two pages or more use: the sidebar, the caches, links, sheets of pictures, charts and downloads."""
